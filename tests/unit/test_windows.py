"""A window is open when the clock on the wall says so, on the nights too on which clocks are changed."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.windows import Span, Window, parsed

MINUTE = timedelta(minutes=1)
PARIS, NEW_YORK = ZoneInfo("Europe/Paris"), ZoneInfo("America/New_York")
SPRING = {PARIS: (date(2026, 3, 29), date(2027, 3, 28)), NEW_YORK: (date(2026, 3, 8), date(2027, 3, 14))}
AUTUMN = {PARIS: (date(2026, 10, 25), date(2027, 10, 31)), NEW_YORK: (date(2026, 11, 1), date(2027, 11, 7))}

ZONES = [
    PARIS,
    NEW_YORK,
    ZoneInfo("UTC"),
    ZoneInfo("Europe/London"),
    ZoneInfo("Africa/Cairo"),  # changed at midnight
    ZoneInfo("Africa/Casablanca"),  # for Ramadan
    ZoneInfo("America/Santiago"),  # from midnight back to the day before
    ZoneInfo("America/St_Johns"),  # a minute after midnight, until 2011
    ZoneInfo("Antarctica/Casey"),  # by three hours
    ZoneInfo("Asia/Kathmandu"),  # never, at 5:45 from UTC
    ZoneInfo("Australia/Lord_Howe"),  # by half an hour
    ZoneInfo("Pacific/Apia"),  # by a whole day, in 2011
]


def changes(zone: ZoneInfo) -> list[datetime]:
    """Days before the zone's clocks were or will be changed."""
    days = [datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(30 * 365)]
    return [before for before, after in pairwise(days) if offset(before, zone) != offset(after, zone)]


def offset(moment: datetime, zone: ZoneInfo) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()


def says_open(window: Window, now: datetime) -> bool:
    """What a person sees who compares the clock on the wall with the two times."""
    wall = now.astimezone(window.zone).time()
    if window.opens < window.closes:
        return window.opens <= wall < window.closes
    return wall >= window.opens or wall < window.closes


CHANGES = [(zone, day) for zone in ZONES for day in changes(zone)]
near_changes = st.tuples(st.sampled_from(CHANGES), st.timedeltas(-timedelta(days=2), timedelta(days=3))).map(
    lambda drawn: (drawn[0][0], drawn[0][1] + drawn[1])
)
any_moments = st.tuples(
    st.sampled_from(ZONES),
    st.integers(0, 120 * 365 * 24 * 60).map(lambda n: datetime(1970, 1, 8, tzinfo=UTC) + n * MINUTE),
)
early = st.integers(0, 4 * 60)  # where clocks are changed
times = st.one_of(early, st.integers(0, 24 * 60 - 1)).map(lambda minutes: time(*divmod(minutes, 60)))
edges = st.tuples(times, times).filter(lambda pair: pair[0] != pair[1])
cases = st.tuples(edges, near_changes | any_moments).map(lambda drawn: (Window(*drawn[0], drawn[1][0]), drawn[1][1]))


def walk(window: Window, day: date) -> Iterator[str]:
    """A frozen clock set minute by minute from noon to noon: what the wall shows when it opens or closes."""
    now, until = (datetime.combine(each, time(12), window.zone).astimezone(UTC) for each in (day - timedelta(1), day))
    was_open = False
    while now < until:
        is_open = window.span(now).is_open(now)
        if is_open != was_open:
            yield f"{now.astimezone(window.zone):%H:%M %Z}"
        now, was_open = now + MINUTE, is_open


@pytest.mark.parametrize("year", [0, 1])
@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        (PARIS, "22:00-06:00", ["22:00 CET", "06:00 CEST"]),
        (PARIS, "23:30-02:30", ["23:30 CET", "03:00 CEST"]),
        (PARIS, "01:30-02:30", ["01:30 CET", "03:00 CEST"]),
        (PARIS, "02:30-06:00", ["03:00 CEST", "06:00 CEST"]),
        (PARIS, "02:00-03:00", []),
        (PARIS, "02:15-02:45", []),
        (NEW_YORK, "22:00-06:00", ["22:00 EST", "06:00 EDT"]),
        (NEW_YORK, "23:30-02:30", ["23:30 EST", "03:00 EDT"]),
        (NEW_YORK, "01:30-02:30", ["01:30 EST", "03:00 EDT"]),
        (NEW_YORK, "02:30-06:00", ["03:00 EDT", "06:00 EDT"]),
        (NEW_YORK, "02:00-03:00", []),
    ],
)
def test_in_spring_an_edge_in_the_missing_hour_takes_effect_when_that_hour_ends(
    zone: ZoneInfo, text: str, expected: list[str], year: int
) -> None:
    assert list(walk(Window.parse(f"{text}@{zone.key}"), SPRING[zone][year])) == expected


@pytest.mark.parametrize("year", [0, 1])
@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        (PARIS, "22:00-06:00", ["22:00 CEST", "06:00 CET"]),
        (PARIS, "23:30-02:30", ["23:30 CEST", "02:30 CEST", "02:00 CET", "02:30 CET"]),
        (PARIS, "01:30-02:30", ["01:30 CEST", "02:30 CEST", "02:00 CET", "02:30 CET"]),
        (PARIS, "02:30-06:00", ["02:30 CEST", "02:00 CET", "02:30 CET", "06:00 CET"]),
        (PARIS, "02:00-03:00", ["02:00 CEST", "03:00 CET"]),
        (NEW_YORK, "22:00-06:00", ["22:00 EDT", "06:00 EST"]),
        (NEW_YORK, "23:30-02:30", ["23:30 EDT", "02:30 EST"]),
        (NEW_YORK, "23:30-01:30", ["23:30 EDT", "01:30 EDT", "01:00 EST", "01:30 EST"]),
        (NEW_YORK, "01:30-02:30", ["01:30 EDT", "01:00 EST", "01:30 EST", "02:30 EST"]),
        (NEW_YORK, "02:00-03:00", ["02:00 EST", "03:00 EST"]),
    ],
)
def test_in_autumn_what_is_read_twice_counts_both_times(
    zone: ZoneInfo, text: str, expected: list[str], year: int
) -> None:
    assert list(walk(Window.parse(f"{text}@{zone.key}"), AUTUMN[zone][year])) == expected


@pytest.mark.parametrize(
    ("zone", "before", "opens_at", "closes_at"),
    [
        ("Europe/Paris", "2026-03-28T12", "2026-03-28T21:00", "2026-03-29T04:00"),  # 7 hours
        ("Europe/Paris", "2026-10-24T12", "2026-10-24T20:00", "2026-10-25T05:00"),  # 9 hours
        ("Europe/Paris", "2027-03-27T12", "2027-03-27T21:00", "2027-03-28T04:00"),
        ("Europe/Paris", "2027-10-30T12", "2027-10-30T20:00", "2027-10-31T05:00"),
        ("America/New_York", "2026-03-07T12", "2026-03-08T03:00", "2026-03-08T10:00"),
        ("America/New_York", "2026-10-31T12", "2026-11-01T02:00", "2026-11-01T11:00"),
        ("America/New_York", "2027-03-13T12", "2027-03-14T03:00", "2027-03-14T10:00"),
        ("America/New_York", "2027-11-06T12", "2027-11-07T02:00", "2027-11-07T11:00"),
        ("America/New_York", "2027-07-01T12", "2027-07-02T02:00", "2027-07-02T10:00"),  # an ordinary night
    ],
)
def test_a_night_has_seven_to_nine_hours(zone: str, before: str, opens_at: str, closes_at: str) -> None:
    expected = Span(*(datetime.fromisoformat(f"{moment}Z") for moment in (opens_at, closes_at)))
    assert parsed(f"22:00-06:00@{zone}").span(datetime.fromisoformat(f"{before}:00Z")) == expected


def test_a_window_shut_for_nothing_but_the_missing_hour_stays_open() -> None:
    window = parsed("03:00-02:00@America/New_York")
    spans = list(islice(window.spans(datetime(2026, 3, 6, 12, tzinfo=UTC)), 3))
    assert [(span.closes_at - span.opens_at) / timedelta(hours=1) for span in spans] == [23, 46, 23]
    assert window.span(datetime(2026, 3, 9, 5, 59, tzinfo=UTC)) == spans[1]


@settings(max_examples=500, deadline=None)
@given(cases)
def test_it_is_open_exactly_while_the_wall_clock_says_so(case: tuple[Window, datetime]) -> None:
    window, now = case
    span = window.span(now)
    assert now < span.closes_at
    assert span.is_open(now) == says_open(window, now)


@settings(max_examples=300, deadline=None)
@given(cases)
def test_openings_are_in_order_and_apart_and_end_where_the_wall_clock_says(case: tuple[Window, datetime]) -> None:
    window, now = case
    spans = list(islice(window.spans(now), 5))
    instant = timedelta(microseconds=1)
    for span in spans:
        around = (span.opens_at - instant, span.opens_at, span.closes_at - instant, span.closes_at)
        assert [says_open(window, moment) for moment in around] == [False, True, True, False]
    moments = [moment for span in spans for moment in (span.opens_at, span.closes_at)]
    assert all(earlier < later for earlier, later in pairwise(moments))


@settings(max_examples=300, deadline=None)
@given(cases)
def test_no_opening_is_left_out(case: tuple[Window, datetime]) -> None:
    window, now = case
    first, *others = islice(window.spans(now), 5)
    assert first == window.span(now)
    for span in others:
        assert span == window.span(first.closes_at) == window.span(span.closes_at - MINUTE / 60)
        first = span


def test_the_opening_is_the_same_whatever_zone_now_is_told_in() -> None:
    window, now = parsed("22:00-06:00@Europe/Paris"), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    spans = {window.span(now.astimezone(zone)) for zone in ZONES}
    assert spans == {window.span(now)}
    assert {moment.tzinfo for span in spans for moment in (span.opens_at, span.closes_at)} == {UTC}


def test_it_opens_on_the_dot_and_is_shut_on_the_dot() -> None:
    window = parsed("09:00-10:00")
    nine, ten = (datetime(2026, 5, 1, hour, tzinfo=UTC) for hour in (9, 10))
    assert window.span(nine) == Span(nine, ten)
    assert window.span(nine).is_open(nine)
    assert window.span(ten) == Span(nine + timedelta(days=1), ten + timedelta(days=1))
    assert not Span(nine, ten).is_open(ten)


@given(edges, st.sampled_from(ZONES))
def test_a_window_written_and_read_is_the_same(pair: tuple[time, time], zone: ZoneInfo) -> None:
    window = Window(*pair, zone)
    assert Window.parse(str(window)) == window


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("22:00-06:00", "22:00-06:00@UTC"),
        ("8:00-24:00@Asia/Tokyo", "08:00-00:00@Asia/Tokyo"),
        ("00:00-23:59@America/Argentina/Buenos_Aires", "00:00-23:59@America/Argentina/Buenos_Aires"),
    ],
)
def test_a_window_is_written_in_one_way(text: str, canonical: str) -> None:
    assert str(Window.parse(text)) == canonical


def test_midnight_as_the_end_is_that_of_the_same_day() -> None:
    span = parsed("20:00-24:00").span(datetime(2026, 5, 1, 21, tzinfo=UTC))
    assert span.closes_at == datetime(2026, 5, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must look like 22:00-06:00@Europe/Paris, not ''"),
        ("22-6", "must look like"),
        ("22:00-06:00 Europe/Paris", "must look like"),
        ("22:00-06:00@", "must look like"),
        ("22:00-25:00", "has no time of day in 25:00"),
        ("22:60-23:00", "has no time of day in 22:60"),
        ("24:00-06:00", "has no time of day in 24:00"),
        ("22:00-24:01", "has no time of day in 24:01"),
        ("22:00-22:00", "closes when it opens"),
        ("00:00-24:00", "closes when it opens"),
        ("22:00-06:00@Mars/Base", "has an unknown time zone 'Mars/Base'"),
        ("22:00-06:00@Europe", "has an unknown time zone"),
        ("22:00-06:00@europe/paris", "has an unknown time zone"),
        ("22:00-06:00@localtime", "has an unknown time zone"),
        ("22:00-06:00@../../etc/passwd", "has an unknown time zone"),
        ("22:00-06:00@\0", "has an unknown time zone"),
    ],
)
def test_what_is_no_window_is_refused_with_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as refused:
        parsed(text)
    assert str(refused.value).startswith(reason)


def test_a_text_is_read_once() -> None:
    assert parsed("21:00-05:00@Europe/Paris") is parsed("21:00-05:00@Europe/Paris")
