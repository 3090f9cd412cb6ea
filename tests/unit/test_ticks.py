"""When schedules come, on the nights too on which clocks are changed."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ticks import check_cron, latest_tick, next_tick

PARIS, NEW_YORK = "Europe/Paris", "America/New_York"
SPRING = {PARIS: "2026-03-29", NEW_YORK: "2026-03-08"}  # 02:00 becomes 03:00
AUTUMN = {PARIS: "2026-10-25", NEW_YORK: "2026-11-01"}  # 03:00 becomes 02:00; in New York 02:00 becomes 01:00
both = pytest.mark.parametrize("zone", [PARIS, NEW_YORK])


def noon_before(day: str, zone: str) -> datetime:
    return datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone)) - timedelta(days=1)


def ticks(cron: str, zone: str, day: str) -> list[str]:
    """What the wall shows when they come, from the noon before that day to the noon after it."""
    now, until = noon_before(day, zone), noon_before(day, zone) + timedelta(days=2)
    shown = []
    while (tick := next_tick(cron, zone, now)) is not None and tick < until.astimezone(UTC):
        shown.append(f"{tick.astimezone(ZoneInfo(zone)):%d %H:%M %z}")
        now = tick
    return [each[3:] for each in shown if each.startswith(day[-2:])]


@both
def test_a_night_job_in_the_missing_hour_comes_when_that_hour_ends(zone: str) -> None:
    offset = {PARIS: "+0200", NEW_YORK: "-0400"}[zone]
    assert ticks("30 2 * * *", zone, SPRING[zone]) == [f"03:00 {offset}"]
    assert ticks("0 2,3 * * *", zone, SPRING[zone]) == [f"03:00 {offset}"]


@both
def test_a_night_job_in_the_doubled_hour_comes_at_the_first(zone: str) -> None:
    hour, offset = {PARIS: (2, "+0200"), NEW_YORK: (1, "-0400")}[zone]
    assert ticks(f"30 {hour} * * *", zone, AUTUMN[zone]) == [f"{hour:02}:30 {offset}"]


@both
def test_seen_from_the_second_half_of_the_doubled_hour_the_night_job_was(zone: str) -> None:
    hour = {PARIS: 2, NEW_YORK: 1}[zone]
    again = datetime.fromisoformat(f"{AUTUMN[zone]}T{hour:02}:10").replace(tzinfo=ZoneInfo(zone), fold=1)
    tick = next_tick(f"30 {hour} * * *", zone, again)
    assert tick is not None
    assert tick.astimezone(ZoneInfo(zone)).date() - again.date() == timedelta(days=1)


@both
def test_a_02_30_job_comes_once_a_day_all_year(zone: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    days = []
    for _ in range(365):
        now = next_tick("30 2 * * *", zone, now) or now
        days.append(now.astimezone(ZoneInfo(zone)).date())
    assert all(after - before == timedelta(days=1) for before, after in pairwise(days))


@both
def test_an_evening_job_comes_by_the_wall_clock(zone: str) -> None:
    before = next_tick("0 22 * * *", zone, noon_before(SPRING[zone], zone))
    assert before is not None
    after = next_tick("0 22 * * *", zone, before)
    assert after is not None
    assert after - before == timedelta(hours=23)


@both
def test_what_comes_by_the_hand_comes_in_real_time(zone: str) -> None:
    assert [each[:5] for each in ticks("0 * * * *", zone, SPRING[zone])][:4] == ["00:00", "01:00", "03:00", "04:00"]
    doubled = {PARIS: 2, NEW_YORK: 1}[zone]
    walls = [each[:5] for each in ticks("*/30 * * * *", zone, AUTUMN[zone])]
    assert walls.count(f"{doubled:02}:00") == walls.count(f"{doubled:02}:30") == 2


@given(
    cron=st.sampled_from(["30 2 * * *", "45 1 * * *", "0 22 * * *", "*/20 * * * *", "15 */2 * * *", "0 3 * * 0"]),
    zone=st.sampled_from([PARIS, NEW_YORK, "UTC", "Australia/Lord_Howe"]),
    day=st.sampled_from([*SPRING.values(), *AUTUMN.values()]),
    minutes=st.integers(0, 3 * 24 * 60),
)
@settings(max_examples=300, deadline=None)
def test_the_next_tick_is_later_whatever_the_hour_is_called(cron: str, zone: str, day: str, minutes: int) -> None:
    now = noon_before(day, zone).astimezone(UTC) + timedelta(minutes=minutes)
    tick = next_tick(cron, zone, now)
    assert tick is not None
    assert tick > now
    assert next_tick(cron, zone, tick - timedelta(seconds=1)) == tick
    assert latest_tick(cron, zone, since=tick, now=tick + timedelta(seconds=59)) == tick


@pytest.mark.parametrize("away", [timedelta(0), timedelta(hours=5), timedelta(days=3), timedelta(days=400)])
@pytest.mark.parametrize("cron", ["0 22 * * *", "* * * * *", "0 0 1 * *"])
def test_of_what_was_missed_the_latest_counts(cron: str, away: timedelta) -> None:
    since = next_tick(cron, PARIS, datetime(2026, 3, 1, tzinfo=UTC))
    assert since is not None
    latest = latest_tick(cron, PARIS, since=since, now=since + away)
    assert since <= latest <= since + away
    following = next_tick(cron, PARIS, latest)
    assert following is not None
    assert following > since + away


@pytest.mark.parametrize(
    ("cron", "fault"),
    [
        ("0 22 * *", "five fields"),
        ("0 0 22 * * *", "five fields"),
        ("@daily", "five fields"),
        ("0 25 * * *", "Bad hour"),
        ("0 22 * * FUN", "Bad day-of-week"),
        ("0 0 30 2 *", "Bad day-of-month"),
        ("0 0 */20 * 1L", "never comes"),
        ("0" * 300 + " 1 1 1 1", "five fields"),
    ],
)
def test_a_cron_expression_that_is_none_is_told(cron: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        check_cron(cron)
