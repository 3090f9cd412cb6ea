"""What a batch waits for, and when it will be done."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from models.outlook import (
    Forecast,
    Standing,
    Waiting,
    WaitingFor,
    fleet_pace,
    forecast,
    likely_s,
    opens_at,
    waiting,
)
from models.windows import Window

PARIS = ZoneInfo("Europe/Paris")
NIGHT = Window.parse("22:00-06:00@Europe/Paris")
NOON = datetime(2026, 5, 2, 12, tzinfo=PARIS)


def standing(**fields: Any) -> Standing:
    known = {
        "now": NOON,
        "queued": 100,
        "in_flight": 0,
        "is_paused": False,
        "window": None,
        "deadline": None,
        "jobs_per_s": 0.5,
        "latency_s": {"enhance": 10.0},
        "operation": "enhance",
        "next_usd": Decimal("0.12"),
    }
    return Standing(**{**known, **fields})


def seen(**fields: Any) -> Forecast:
    where = standing(**fields)
    return forecast(where, waiting(where))


def paris(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-05-02T12:00", "2026-05-02T22:00"),
        ("2026-05-02T23:00", "2026-05-02T23:00"),
        ("2026-05-03T05:59:50", "2026-05-03T05:59:50"),
        ("2026-05-03T05:59:51", "2026-05-03T22:00"),
    ],
)
def test_a_call_begins_where_it_fits_into_the_window(now: str, opens: str) -> None:
    assert opens_at(NIGHT, paris(now), call_s=10) == paris(opens)


@pytest.mark.parametrize(("call_s", "fits"), [(8 * 3600, True), (8 * 3600 + 1, False)])
def test_a_call_that_is_longer_than_the_window_never_begins(call_s: float, fits: bool) -> None:
    assert (opens_at(NIGHT, NOON, call_s=call_s) is not None) == fits


def test_an_operation_that_nobody_has_measured_counts_as_long() -> None:
    assert (likely_s("enhance", {"enhance": 3.0}), likely_s("edit", {"enhance": 3.0}), likely_s(None, {})) == (
        3,
        90,
        90,
    )


def test_the_fleet_goes_as_fast_as_its_slowest_operation_lets_it() -> None:
    assert fleet_pace(8.0, {"enhance": 2.0, "edit": 16.0}) == 0.5
    assert fleet_pace(8.0, {}) is None


def test_a_shut_window_is_waited_for() -> None:
    found = waiting(standing(window=NIGHT))
    assert found == Waiting(WaitingFor.WINDOW, paris("2026-05-02T22:00"))
    assert found.until is not None
    assert found.until.tzinfo is NIGHT.zone


@pytest.mark.parametrize(
    "fields", [{"queued": 0}, {"in_flight": 1}, {"is_paused": True}, {"now": paris("2026-05-02T23:00")}]
)
def test_what_has_something_else_to_do_waits_for_no_window(fields: dict[str, Any]) -> None:
    assert waiting(standing(window=NIGHT, **fields)) is None


def test_a_window_that_is_never_long_enough_is_waited_for_in_vain() -> None:
    where = standing(window=Window.parse("02:00-02:01"), latency_s={})
    assert waiting(where) == Waiting(WaitingFor.WINDOW, None)
    assert forecast(where, waiting(where)) == Forecast(None, 0.5, None)


@pytest.mark.parametrize(
    ("left_day", "left_month", "expected"),
    [
        ("0.12", "0.12", None),
        ("0.11", "5", Waiting(WaitingFor.ACCOUNT_BUDGET_DAY, paris("2026-05-03T00:00"))),
        ("5", "0.11", Waiting(WaitingFor.ACCOUNT_BUDGET_MONTH, paris("2026-06-01T00:00"))),
        ("0.11", "0.11", Waiting(WaitingFor.ACCOUNT_BUDGET_MONTH, paris("2026-06-01T00:00"))),
        (None, None, None),
    ],
)
def test_money_is_waited_for_until_the_day_or_month_begins(
    left_day: str | None, left_month: str | None, expected: Waiting | None
) -> None:
    day, month = (None if each is None else Decimal(each) for each in (left_day, left_month))
    assert waiting(standing(left_day_usd=day, left_month_usd=month, time_zone="Europe/Paris")) == expected


def test_a_year_ends_with_its_last_month() -> None:
    found = waiting(standing(now=paris("2026-12-31T23:30"), left_month_usd=Decimal(0), time_zone="Europe/Paris"))
    assert found == Waiting(WaitingFor.ACCOUNT_BUDGET_MONTH, paris("2027-01-01T00:00"))


@pytest.mark.parametrize(
    ("window", "reason"), [("22:00-06:00@Europe/Paris", "account_budget_day"), ("01:00-06:00@Europe/Paris", "window")]
)
def test_of_two_reasons_the_one_that_lasts_is_told(window: str, reason: str) -> None:
    found = waiting(standing(window=Window.parse(window), left_day_usd=Decimal(0), time_zone="Europe/Paris"))
    assert found is not None
    assert found.reason == reason


def test_a_batch_is_done_when_its_last_job_has_begun_and_ended() -> None:
    assert seen() == Forecast(NOON + timedelta(seconds=210), 0.5, None)


def test_what_is_in_flight_ends_whatever_the_window() -> None:
    assert seen(queued=0, in_flight=5, window=NIGHT).finishes_at == NOON + timedelta(seconds=10)


def test_a_window_is_gone_on_with_the_next_night() -> None:
    night = seen(queued=20_000, window=NIGHT)  # 40,000 s of work; a night takes 28,790
    assert night.finishes_at == paris("2026-05-03T22:00") + timedelta(seconds=40_000 - 28_790 + 10)


def test_what_waits_for_money_begins_when_there_is_some() -> None:
    assert seen(left_day_usd=Decimal(0)).finishes_at == datetime(2026, 5, 3, 0, 3, 30, tzinfo=UTC)


@pytest.mark.parametrize(("after_s", "meets"), [(211, True), (210, True), (209, False)])
def test_the_deadline_is_met_or_not(after_s: int, meets: bool) -> None:
    assert seen(deadline=NOON + timedelta(seconds=after_s)).meets_deadline is meets


def test_a_deadline_that_is_never_reached_is_not_met() -> None:
    never = seen(window=Window.parse("02:00-02:01"), latency_s={}, deadline=NOON)
    assert (never.finishes_at, never.meets_deadline) == (None, False)


@pytest.mark.parametrize("fields", [{"is_paused": True}, {"queued": 0}, {"jobs_per_s": None}])
def test_nobody_can_tell_of_what_does_not_move(fields: dict[str, Any]) -> None:
    found = seen(deadline=NOON, **fields)
    assert (found.finishes_at, found.meets_deadline) == (None, None)


def test_a_forecast_is_spelled_for_programs() -> None:
    told = Forecast(paris("2026-05-02T22:00"), 1 / 3, True).as_json()
    assert told == {"finishes_at": "2026-05-02T20:00:00Z", "jobs_per_s": 0.3333, "meets_deadline": True}
