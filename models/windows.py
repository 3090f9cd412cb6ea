"""Daily windows such as `22:00-06:00@Europe/Paris`: when work may begin. Pure functions of the moment they are given.

A window is open while the clock on the wall of its zone reads its opening time or later, and earlier than its closing
time. That one rule also decides the two nights on which clocks are changed:

- spring, a reading that never comes: an edge in the missing hour takes effect when that hour ends, which is when the
  clock passes it. A window that lies wholly in it is not open on that day, and the next opening is the next day's.
  One that is shut for nothing but that hour stays open: two openings become one;
- autumn, an hour that is read twice: what is in the window is open both times, what is not is shut both times. An edge
  within that hour therefore works twice, and the night has two openings with a pause between them: 22:00-02:30 is open
  until 02:30, shut until the clock is put back from 03:00 to 02:00, and open until 02:30 again. Windows whose edges
  lie outside that hour have one opening, an hour longer.

So openings never overlap or touch, none is empty, and none goes on while the clock reads a time outside the window.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Self
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
# An opening is shorter than two days, even where two become one in spring: three days back none is cut off.
LOOK_BACK = 3 * DAY

_FORM = re.compile(r"([0-9]{1,2}:[0-9]{2})-([0-9]{1,2}:[0-9]{2})(?:@(.+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Span:
    """One opening: `opens_at` belongs to it, `closes_at` no more. Aware, in UTC."""

    opens_at: datetime
    closes_at: datetime

    def is_open(self, now: datetime) -> bool:
        return self.opens_at <= now < self.closes_at


@dataclass(frozen=True, slots=True)
class Window:
    """From `opens` to `closes` by the wall clock of `zone`, each day; over midnight where `closes` is not the later.

    ValueError, whose message continues "the window …", if both are the same.
    """

    opens: time
    closes: time
    zone: ZoneInfo

    def __post_init__(self) -> None:
        if self.opens == self.closes:
            raise ValueError("closes when it opens: for work at all hours leave the window out")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `HH:MM-HH:MM@Area/City`; without a zone it is UTC, and 24:00 as the end is midnight.

        ValueError, whose message continues "the window …" and names what is wrong.
        """
        found = _FORM.fullmatch(text)
        if not found:
            raise ValueError(f"must look like 22:00-06:00@Europe/Paris, not {text[:64]!r}")
        opens, closes, zone = found.groups()
        return cls(_time(opens), _time("0:00" if closes == "24:00" else closes), zone_of(zone or "UTC"))

    def __str__(self) -> str:
        return f"{self.opens:%H:%M}-{self.closes:%H:%M}@{self.zone.key}"

    @property
    def length(self) -> timedelta:
        """How long it is open on a day without a change of clocks."""
        return (datetime.combine(date.min, self.closes) - datetime.combine(date.min, self.opens)) % DAY

    def span(self, now: datetime) -> Span:
        """The opening under way at `now` (aware, of any zone), else the next one; it holds until its `closes_at`."""
        return next(span for span in _around(self, now.astimezone(UTC).date()) if span.closes_at > now)

    def spans(self, now: datetime) -> Iterator[Span]:
        """`span(now)` and those after it, without end."""
        return (span for span in _openings(self, now.astimezone(UTC).date() - LOOK_BACK) if span.closes_at > now)


@lru_cache(maxsize=1_024)
def parsed(text: str) -> Window:
    """`Window.parse`, remembered: admission asks many times a second."""
    return Window.parse(text)


@lru_cache(maxsize=1_024)
def _around(window: Window, day: date) -> tuple[Span, ...]:
    """The openings that some moment of this day of UTC asks for, remembered: a day has two or three."""
    midnight = datetime.combine(day, time.min, UTC)
    spans = []
    for span in _openings(window, day - LOOK_BACK):
        if span.closes_at > midnight:
            spans.append(span)
        if span.closes_at >= midnight + DAY:
            break
    return tuple(spans)


def _openings(window: Window, first: date) -> Iterator[Span]:
    """All openings from the beginning of day `first` of UTC on; the first one may lack what came before that day."""
    return _joined(
        piece
        for since, until, offset in _stretches(window.zone, first)
        for piece in _pieces(window, since, until, offset)
    )


def _stretches(zone: ZoneInfo, first: date) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """Time from `first` on in stretches of at most a day of UTC, each with the one offset from UTC that it has.

    No zone changes its clocks twice in a day (none has within six days since 1970).
    """
    since = datetime.combine(first, time.min, UTC)
    before = _offset(zone, since)
    while True:
        until = since + DAY
        after = _offset(zone, until)
        change = until if after == before else _change(zone, since, after)
        yield since, change, before
        if change < until:
            yield change, until, after
        since, before = until, after


def _change(zone: ZoneInfo, since: datetime, after: timedelta) -> datetime:
    """The second of the day from `since` on at which the offset becomes `after`: a zone tells only its offsets."""
    second = timedelta(seconds=1)
    return since + second * bisect_left(range(86_400), True, key=lambda n: _offset(zone, since + n * second) == after)


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _pieces(window: Window, since: datetime, until: datetime, offset: timedelta) -> Iterator[Span]:
    """The parts of openings in a stretch of one offset and at most a day: within it all days are 24 hours long."""
    length = window.length
    today = (since + offset).date()
    for day in (today - DAY, today, today + DAY):
        opens_at = datetime.combine(day, window.opens, UTC) - offset
        piece = Span(max(opens_at, since), min(opens_at + length, until))
        if piece.opens_at < piece.closes_at:
            yield piece


def _joined(pieces: Iterable[Span]) -> Iterator[Span]:
    """Pieces in order of time, those that touch made one."""
    last: Span | None = None
    for piece in pieces:
        if last and last.closes_at == piece.opens_at:
            last = Span(last.opens_at, piece.closes_at)
            continue
        if last:
            yield last
        last = piece


def _time(text: str) -> time:
    hour, minute = map(int, text.split(":"))
    try:
        return time(hour, minute)
    except ValueError:
        raise ValueError(f"has no time of day in {text}: 00:00 to 23:59, and 24:00 as the end") from None


def zone_of(key: str) -> ZoneInfo:
    """ValueError, whose message continues "the window …" or "it …", for what is no name of a time zone."""
    if key not in _zone_names():
        raise ValueError(f"has an unknown time zone {key[:64]!r}: it must be named like Europe/Paris or UTC")
    return ZoneInfo(key)


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    """Those of the package `tzdata`: what one machine takes (`localtime`, `europe/paris`) another may not know."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="ascii").split())
