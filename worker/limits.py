"""How much the upstream bears: a pure controller. The leading dispatcher feeds it what workers report.

Slow start until the first refusal. A refusal lowers the limit by the calls refused, by 5 to 30 % in a window, and is
remembered: the limit is back at 95 % of where it was refused within a round, stays there for a minute, and then looks
for more, one a round (as CUBIC does for TCP). Additive increase from 70 % at once, as Reno has it, left a quarter of
what a limit of 24 allows unused.
The gate: `Retry-After` closes it for that long; no credit or a refused key closes it until a probe gets through.
"""

from collections.abc import Sequence
from dataclasses import replace

from models.health import Report, UpstreamState
from worker.retry import PollPace

FLOOR = 1.0
MOST_DECREASE = 0.7  # in a window, however many calls are refused: a storm says little of what is borne after it
SAFE = 0.95  # of the limit at which calls were refused
WINDOW_S = 5.0  # refusals in it are about one limit
CONTENT_S = 60.0  # so long it does not look for more; each look that goes too far costs a Retry-After
KEPT = 16  # one slot in so many is kept for interactive jobs,
LEAST_TO_KEEP = 8  # and one from this limit on
BINDING = 0.8  # of the limit in use: below it success says nothing about more
PROBE_S = 10.0  # between two probes of a gate that only a person can mend
THROTTLED = "throttled"
UNAVAILABLE = "unavailable"
DOWN_S = 5.0  # between two probes of an upstream that only fails: it mends itself
DOWN_CALLS = 5  # failures without a success, however far apart, before it counts as down: an outage is waited for
QUANTILE = 0.6  # of jobs that should be ready at their first poll
GAIN = 0.2  # of the estimate a report; follows a change of the API within some seconds of load
ENOUGH = 20  # looks that count as a full observation
LONGEST_LOOK_S = 120.0  # measured calls end within 100 s
OUTDATED = 0.5  # of the estimate: where most results are there when they are looked at on the way, it is wrong
ON_THE_WAY_S = PollPace().longest_s  # the earliest look at a job whose result is not likely yet
SLACK_S = 1.0  # a poll this late is still the first


def step(state: UpstreamState, reports: Sequence[Report], *, in_flight: int, ceiling: int) -> UpstreamState:
    """The next state of the controller; `reports` since the last step, `in_flight` jobs now."""
    state = _open_after_throttle(state)
    for report in reports:
        state = replace(state, latency_s=_latencies(state.latency_s, report))
    refused = [report for report in reports if report.closed_reason]
    if refused:
        return replace(state, closed_reason=refused[-1].closed_reason, closed_for_s=PROBE_S)
    is_ok = any(report.ok for report in reports)
    state = replace(state, failures=0 if is_ok else state.failures + sum(report.failed for report in reports))
    if state.failures >= DOWN_CALLS and any(report.failed for report in reports):
        return replace(state, closed_reason=UNAVAILABLE, closed_for_s=DOWN_S)
    ok, throttled = sum(report.ok for report in reports), sum(report.throttled for report in reports)
    if throttled:
        calm = state.calm + ok
        state = _wait_as_told(replace(state, calm=0), reports)
        return state if _is_chance(state, throttled, calm=calm) else _decrease(state, throttled)
    state = replace(state, calm=state.calm + ok)
    return (
        _increase(state, ok, is_binding=in_flight >= BINDING * state.in_flight_limit, ceiling=ceiling) if ok else state
    )


def free_slots(state: UpstreamState, *, in_flight: int, fixed: int | None) -> int:
    """How many jobs may be admitted now; one as a probe where a closed gate is due for it."""
    if state.closed_for_s > 0:
        return 0
    if state.closed_reason == UNAVAILABLE and in_flight >= _limit(state, fixed):
        return 0  # whether a probe was carried out is unknown: no more of those than the limit, then one of them again
    if state.closed_reason:
        return 1
    return max(0, _limit(state, fixed) - in_flight)


def kept_slots(state: UpstreamState, *, fixed: int | None) -> int:
    """Slots that only interactive jobs take: with calls of a minute none might be free for half of one otherwise."""
    limit = _limit(state, fixed)
    return 0 if state.closed_reason or limit < LEAST_TO_KEEP else max(1, limit // KEPT)


def _limit(state: UpstreamState, fixed: int | None) -> int:
    return fixed if fixed is not None else int(state.in_flight_limit)


def probing(state: UpstreamState) -> UpstreamState:
    """After a probe was admitted: closed again until it has told."""
    pause_s = DOWN_S if state.closed_reason == UNAVAILABLE else PROBE_S
    return replace(state, closed_for_s=pause_s) if state.closed_reason else state


def _open_after_throttle(state: UpstreamState) -> UpstreamState:
    """A throttle ends with its time: nobody has to mend anything."""
    if state.closed_reason == THROTTLED and state.closed_for_s <= 0:
        return replace(state, closed_reason=None)
    return state


def _wait_as_told(state: UpstreamState, reports: Sequence[Report]) -> UpstreamState:
    retry_after_s = max(report.retry_after_s or 0.0 for report in reports)
    if retry_after_s > state.closed_for_s and state.closed_reason in (None, THROTTLED):
        return replace(state, closed_reason=THROTTLED, closed_for_s=retry_after_s)
    return state


def _is_chance(state: UpstreamState, throttled: int, *, calm: int) -> bool:
    """A single call refused after a whole round of good ones, at a limit known to be borne: it says nothing of load.

    Without this one 503 in a hundred, which any service answers now and then, lets the limit decay to the floor.
    """
    safe = SAFE * (state.refused_limit or 0.0)
    return throttled == 1 and calm >= state.in_flight_limit and state.in_flight_limit <= safe * 1.001


def _decrease(state: UpstreamState, throttled: int) -> UpstreamState:
    if state.since_decrease_s is None or state.refused_limit is None or state.since_decrease_s >= WINDOW_S:
        state = replace(state, refused_limit=state.in_flight_limit, since_decrease_s=0.0)
    refused_limit = state.refused_limit or state.in_flight_limit
    fewer = min(state.in_flight_limit - throttled, SAFE * refused_limit)
    limit = min(state.in_flight_limit, max(FLOOR, MOST_DECREASE * refused_limit, fewer))
    return replace(state, in_flight_limit=limit, is_slow_start=False)


def _increase(state: UpstreamState, ok: int, *, is_binding: bool, ceiling: int) -> UpstreamState:
    if state.closed_reason and state.closed_reason != THROTTLED:
        state = replace(state, closed_reason=None, closed_for_s=0.0)
    if not is_binding:
        return state
    limit, safe = state.in_flight_limit, SAFE * (state.refused_limit or 0.0)
    if state.is_slow_start:
        limit += ok
    elif limit < safe:
        limit = min(safe, limit + ok)
    elif state.since_decrease_s is None or state.since_decrease_s > CONTENT_S:
        limit += ok / limit
    return replace(state, in_flight_limit=min(float(ceiling), limit))


def _latencies(known: dict[str, float], report: Report) -> dict[str, float]:
    return known | {
        operation: moved
        for operation, looks in report.looks.items()
        if (moved := _quantile(known.get(operation), looks)) is not None
    }


def _is_telling(age_s: float, estimate: float, *, is_done: bool) -> bool:
    """Whether a look was the one at the estimate, or found its result before; what is looked at in between is not."""
    return age_s <= estimate * 1.1 + SLACK_S and (is_done or age_s >= estimate * 0.9)


def _quantile(estimate: float | None, looks: Sequence[tuple[float, bool]]) -> float | None:
    """The running quantile after what polls found at which age; later polls say nothing that the first did not.

    All looks are judged by the estimate that they were made with, and one report moves it by `GAIN` at most: hundreds
    of jobs looked at too early in one second are one observation, not hundreds of steps. An estimate that is far too
    long, learnt under a load that is over, is given up at once.
    """
    if estimate is None:
        return min((age_s for age_s, is_done in looks if is_done), default=None)
    # Only looks on the way to the estimate tell: what a callback woke before them is the quick ones alone.
    early = [(age_s, is_done) for age_s, is_done in looks if ON_THE_WAY_S <= age_s < estimate * OUTDATED]
    if sum(is_done for _, is_done in early) > len(early) / 2:
        return max(age_s for age_s, is_done in early if is_done)  # no need to find the way there in small steps
    first = [is_done for age_s, is_done in looks if _is_telling(age_s, estimate, is_done=is_done)]
    if not first:
        return estimate
    wanting = QUANTILE - sum(first) / len(first)
    return min(LONGEST_LOOK_S, max(0.2, estimate * (1 + GAIN * wanting * min(1.0, len(first) / ENOUGH))))
