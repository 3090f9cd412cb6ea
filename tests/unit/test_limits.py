"""The controller of the limit and the gate."""

import random
from dataclasses import replace

import pytest

from models.health import Report, UpstreamState
from worker.limits import CONTENT_S, MOST_DECREASE, PROBE_S, SAFE, WINDOW_S, free_slots, kept_slots, probing, step

CALM = UpstreamState(in_flight_limit=10, is_slow_start=False)


def moved(state: UpstreamState, *reports: Report, in_flight: int = 10, ceiling: int = 100) -> UpstreamState:
    return step(state, reports, in_flight=in_flight, ceiling=ceiling)


def test_success_at_the_limit_raises_it_by_one_a_round() -> None:
    assert moved(CALM, Report(ok=10)).in_flight_limit == 11


def test_slow_start_doubles_a_round() -> None:
    assert moved(replace(CALM, is_slow_start=True), Report(ok=10)).in_flight_limit == 20


def test_success_below_the_limit_says_nothing_about_more() -> None:
    assert moved(CALM, Report(ok=10), in_flight=3).in_flight_limit == 10


def test_the_ceiling_holds() -> None:
    assert moved(replace(CALM, is_slow_start=True), Report(ok=500)).in_flight_limit == 100


@pytest.mark.parametrize(("refused", "limit"), [(1, 38), (5, 35), (30, 40 * MOST_DECREASE)])
def test_refusals_lower_the_limit_by_as_many_within_bounds_and_end_slow_start(refused: int, limit: float) -> None:
    state = moved(replace(CALM, in_flight_limit=40, is_slow_start=True), Report(ok=5, throttled=refused))
    assert state.in_flight_limit == pytest.approx(limit)
    assert (state.is_slow_start, state.refused_limit) == (False, 40)


def test_refusals_of_a_window_together_lower_it_no_further() -> None:
    state = CALM
    for _ in range(5):
        state = moved(state, Report(throttled=9))
    assert state.in_flight_limit == pytest.approx(10 * MOST_DECREASE)
    later = moved(replace(state, since_decrease_s=WINDOW_S), Report(throttled=9))
    assert later.in_flight_limit == pytest.approx(10 * MOST_DECREASE**2)


def test_after_a_storm_the_limit_is_soon_back_just_below_where_it_was_refused() -> None:
    state = moved(CALM, Report(throttled=9))
    state = moved(replace(state, since_decrease_s=2.0), Report(ok=50), in_flight=9)
    assert state.in_flight_limit == pytest.approx(10 * SAFE)
    assert moved(state, Report(ok=50)).in_flight_limit == pytest.approx(10 * SAFE), "and stays there for a while"
    rested = replace(state, since_decrease_s=CONTENT_S + 1)
    assert moved(rested, Report(ok=19)).in_flight_limit == pytest.approx(10 * SAFE + 2)


def test_the_limit_never_falls_below_one() -> None:
    assert moved(replace(CALM, in_flight_limit=1), Report(throttled=1)).in_flight_limit == 1


def test_retry_after_closes_the_gate_for_the_fleet() -> None:
    state = moved(CALM, Report(throttled=1, retry_after_s=20))
    assert free_slots(state, in_flight=0, fixed=None) == 0
    assert state.closed_for_s == 20


def test_the_gate_opens_by_itself_after_retry_after() -> None:
    waited = replace(CALM, closed_reason="throttled", closed_for_s=0)
    assert free_slots(moved(waited), in_flight=0, fixed=None) == 10


@pytest.mark.parametrize("reason", ["no_credit", "bad_key", "forbidden"])
def test_a_refused_account_closes_the_gate_and_is_probed_by_one(reason: str) -> None:
    closed = moved(CALM, Report(ok=3, closed_reason=reason))
    assert free_slots(closed, in_flight=0, fixed=None) == 0
    due = replace(closed, closed_for_s=-0.1)
    assert free_slots(due, in_flight=5, fixed=1000) == 1
    assert probing(due).closed_for_s == PROBE_S


def test_a_probe_that_gets_through_opens_the_gate() -> None:
    state = moved(replace(CALM, closed_reason="no_credit", closed_for_s=9), Report(ok=1))
    assert state.closed_reason is None
    assert free_slots(state, in_flight=0, fixed=None) == 10


def test_a_fixed_concurrency_ignores_the_controller() -> None:
    assert free_slots(CALM, in_flight=30, fixed=32) == 2


def test_an_upstream_that_only_fails_is_left_alone_for_a_while() -> None:
    state = moved(CALM, Report(failed=5))
    assert state.closed_reason == "unavailable"
    assert free_slots(state, in_flight=0, fixed=None) == 0


def test_failures_far_apart_are_an_outage_too() -> None:
    state = CALM
    for _ in range(4):
        state = moved(state, Report(failed=1))
    assert (state.closed_reason, moved(state, Report(failed=1)).closed_reason) == (None, "unavailable")
    assert moved(moved(state, Report(ok=1)), Report(failed=1)).closed_reason is None


def test_of_what_an_outage_leaves_unknown_there_is_no_more_than_the_limit() -> None:
    down = replace(CALM, closed_reason="unavailable", closed_for_s=-0.1)
    assert [free_slots(down, in_flight=count, fixed=None) for count in (0, 9, 10, 11)] == [1, 1, 0, 0]


def test_some_failures_among_successes_close_nothing() -> None:
    assert moved(CALM, Report(ok=5, failed=5)).closed_reason is None


def test_first_polls_move_the_running_quantile() -> None:
    known = replace(CALM, latency_s={"enhance": 10.0})
    late = moved(known, Report(looks={"enhance": [(10.0, False)]}))
    early = moved(known, Report(looks={"enhance": [(10.0, True)]}))
    assert early.latency_s["enhance"] < 10 < late.latency_s["enhance"]


def test_a_thousand_early_looks_are_one_observation() -> None:
    known = replace(CALM, latency_s={"enhance": 10.0})
    state = moved(known, Report(looks={"enhance": [(10.0, False)] * 1000}))
    assert 10 < state.latency_s["enhance"] <= 12


def test_the_quantile_settles_where_most_jobs_are_ready() -> None:
    source, state = random.Random(1), replace(CALM, latency_s={"enhance": 3.0})
    for _ in range(300):
        at = state.latency_s["enhance"]
        looks = [(at, source.gauss(20, 4) <= at) for _ in range(30)]
        state = moved(state, Report(looks={"enhance": looks}))
    assert 18 < state.latency_s["enhance"] < 24  # 60 % of this distribution are below 21


def test_later_polls_do_not_move_it() -> None:
    known = replace(CALM, latency_s={"enhance": 10.0})
    assert moved(known, Report(looks={"enhance": [(30.0, True), (25.0, False)]})).latency_s == known.latency_s


def test_an_estimate_that_is_far_too_long_is_given_up_at_once() -> None:
    known = replace(CALM, latency_s={"enhance": 100.0})
    state = moved(known, Report(looks={"enhance": [(15.1, True), (15.2, True), (15.1, False)]}))
    assert state.latency_s["enhance"] == 15.2


def test_what_callbacks_woke_says_little_of_the_jobs_that_still_run() -> None:
    known = replace(CALM, latency_s={"enhance": 10.0})
    state = moved(known, Report(looks={"enhance": [(1.0, True)] * 100}))
    assert state.latency_s["enhance"] >= 9


def test_looks_on_the_way_to_the_estimate_say_nothing() -> None:
    known = replace(CALM, latency_s={"enhance": 50.0})
    assert moved(known, Report(looks={"enhance": [(15.0, False), (30.0, False)]})).latency_s == known.latency_s


@pytest.mark.parametrize(("limit", "kept"), [(1, 0), (7, 0), (8, 1), (31, 1), (64, 4), (256, 16)])
def test_some_slots_are_kept_for_interactive_jobs(limit: int, kept: int) -> None:
    assert kept_slots(UpstreamState(), fixed=limit) == kept
    assert kept_slots(UpstreamState(in_flight_limit=limit + 0.5), fixed=None) == kept


def test_none_is_kept_from_a_probe() -> None:
    assert kept_slots(UpstreamState(closed_reason="no_credit"), fixed=64) == 0
