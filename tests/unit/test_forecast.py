"""When a batch will be done."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.forecast import HORIZON, finishes_at
from models.windows import Window, parsed

NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)  # the clocks of Paris are put forward in the night that follows
NIGHT = parsed("22:00-06:00@Europe/Paris")
with_and_without = pytest.mark.parametrize("window", [None, NIGHT])


def test_without_a_window_it_works_on_from_now() -> None:
    assert finishes_at(NOON, jobs=100, jobs_per_s=0.5, window=None) == NOON + timedelta(seconds=200)
    assert finishes_at(NOON, jobs=100, jobs_per_s=0.5, window=None, latency_s=30) == NOON + timedelta(seconds=230)


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        (1, "2026-03-28T21:10:01Z"),
        (7 * 3600 - 600, "2026-03-29T04:00:00Z"),  # a night of seven hours, but for ten minutes
        (7 * 3600 - 599, "2026-03-29T20:10:01Z"),  # one more waits for the next night
        (7 * 3600 - 600 + 8 * 3600 - 600, "2026-03-30T04:00:00Z"),
        (7 * 3600 - 600 + 9 * (8 * 3600 - 600), "2026-04-07T04:00:00Z"),
    ],
)
def test_nothing_begins_in_the_last_minutes_of_a_night(jobs: int, expected: str) -> None:
    assert finishes_at(NOON, jobs=jobs, jobs_per_s=1, window=NIGHT, latency_s=600) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("now", "expected"),
    [("2026-05-01T23:00:00Z", "2026-05-02T00:00:00Z"), ("2026-05-02T03:30:00Z", "2026-05-02T20:30:00Z")],
)
def test_of_the_night_under_way_only_the_rest_counts(now: str, expected: str) -> None:
    found = finishes_at(datetime.fromisoformat(now), jobs=3600, jobs_per_s=1, window=NIGHT)
    assert found == datetime.fromisoformat(expected)


def test_in_the_last_minutes_of_a_night_it_waits_for_the_next() -> None:
    late = datetime(2026, 5, 2, 3, 55, tzinfo=UTC)
    found = finishes_at(late, jobs=60, jobs_per_s=1, window=NIGHT, latency_s=600)
    assert found == datetime(2026, 5, 2, 20, 11, tzinfo=UTC)


def test_the_clock_of_whoever_asks_makes_no_difference() -> None:
    told_in_paris = finishes_at(NOON.astimezone(NIGHT.zone), jobs=86_400, jobs_per_s=1, window=None)
    assert told_in_paris == NOON + timedelta(days=1)


@with_and_without
def test_no_jobs_are_done_now(window: Window | None) -> None:
    assert finishes_at(NOON, jobs=0, jobs_per_s=None, window=window, latency_s=60) == NOON


@with_and_without
@pytest.mark.parametrize("pace", [None, 0.0, -1.0, float("nan"), 5e-324])
def test_without_a_pace_nobody_knows(window: Window | None, pace: float | None) -> None:
    assert finishes_at(NOON, jobs=1, jobs_per_s=pace, window=window) is None


@pytest.mark.parametrize(("latency_s", "is_known"), [(599.0, True), (600.0, False), (3600.0, False)])
def test_a_window_shorter_than_a_job_never_ends(latency_s: float, is_known: bool) -> None:
    found = finishes_at(NOON, jobs=1, jobs_per_s=10, window=parsed("02:00-02:10"), latency_s=latency_s)
    assert (found is not None) == is_known


def test_the_one_longer_night_of_the_year_is_no_plan() -> None:
    assert finishes_at(NOON, jobs=1, jobs_per_s=10, window=parsed("01:30-03:30@Europe/Paris"), latency_s=7200) is None


@with_and_without
def test_more_than_ten_years_are_not_told(window: Window | None) -> None:
    ten_years_s = HORIZON.total_seconds()
    assert finishes_at(NOON, jobs=round(ten_years_s / 4), jobs_per_s=1, window=window)
    assert finishes_at(NOON, jobs=round(ten_years_s) + 1, jobs_per_s=1, window=window) is None
    assert finishes_at(NOON, jobs=round(ten_years_s), jobs_per_s=1, window=window, latency_s=1) is None


def test_a_hundred_million_nights_are_not_counted() -> None:
    assert finishes_at(NOON, jobs=100_000_000, jobs_per_s=1, window=parsed("02:00-02:10"), latency_s=599) is None


@settings(deadline=None)
@given(jobs=st.integers(1, 500_000), latency_s=st.integers(0, 3600), wait_h=st.integers(0, 24 * 365))
def test_the_time_worked_until_then_is_the_work_there_is(jobs: int, latency_s: int, wait_h: int) -> None:
    now, latency = NOON + timedelta(hours=wait_h), timedelta(seconds=latency_s)
    found = finishes_at(now, jobs=jobs, jobs_per_s=1, window=NIGHT, latency_s=latency_s)
    assert found
    worked = timedelta(0)
    for span in islice(NIGHT.spans(now), 100):
        until = min(span.closes_at, found) - latency
        worked += max(until - max(now, span.opens_at), timedelta(0))
    assert worked == timedelta(seconds=jobs)
    assert NIGHT.span(found - timedelta(microseconds=1)).is_open(found - timedelta(microseconds=1))
