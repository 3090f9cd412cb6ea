"""Moments as people type them."""

import re
from datetime import datetime, timedelta

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(m|h|d)")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def parse_moment(text: str, now: datetime) -> datetime:
    """`8h`, `90m`, `2d` from now; `06:00`, the next one of this machine's clock; or ISO 8601, local without an offset.

    `now`: aware. Raise ValueError that says what is taken.
    """
    if span := _SPAN.fullmatch(text):
        return now + timedelta(**{_UNITS[span[2]]: float(span[1])})
    local = now.astimezone()
    if clock := _CLOCK.fullmatch(text):
        moment = local.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        return _of_this_machine(moment if moment > local else moment + timedelta(days=1))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is none of 06:00, 8h, 90m, 2d, 2026-12-24T06:00+01:00") from None
    return moment if moment.tzinfo else moment.astimezone()


def _of_this_machine(moment: datetime) -> datetime:
    """The same reading of the clock, on a day that may have another offset."""
    return moment.replace(tzinfo=None).astimezone()
