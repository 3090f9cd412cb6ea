"""When a cron expression comes, in a time zone: pure functions, after Debian's cron.

On the two nights on which clocks are changed that means:

- a time of day (`30 2 * * *`, no star in the first two fields) comes once a day, whatever the clock does. In spring
  what stands in the missing hour comes when that hour ends, at 03:00 for 02:30 in Europe/Paris; in autumn, where 02:30
  is read twice, it comes at the first. `0 2,3 * * *` comes once in the spring night: both mean the same moment;
- what comes by the clock's hand (`*/30 * * * *`, `0 * * * *`) comes as often as real time has it: not in the missing
  hour, and in both of the doubled one.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from cronsim import CronSim, CronSimError

from models.windows import zone_of

_LONGEST = 200  # characters
_FIELDS = 5
_FIRST_LOOK = timedelta(hours=1)


def check_cron(cron: str) -> None:
    """Raise ValueError, whose message continues "the cron expression …", for one that does not parse or never comes.

    Five fields, as in Debian's cron; beside that `L`, `LW`, `5L` and `MON#1` for days. No seconds, no `@daily`.
    """
    if len(cron.split()) != _FIELDS or len(cron) > _LONGEST:
        raise ValueError(f"must have five fields such as 0 22 * * *, not {cron[:64]!r}")
    try:
        next(CronSim(cron, datetime.now(UTC)))
    except CronSimError as error:
        raise ValueError(f"is not right in {cron!r}: {error}") from None
    except StopIteration:
        raise ValueError(f"{cron!r} never comes") from None


def next_tick(cron: str, time_zone: str, after: datetime) -> datetime | None:
    """The first tick later than `after` (aware), in UTC; None if none comes within 50 years. Raise ValueError."""
    return next(_ticks(cron, time_zone, after), None)


def latest_tick(cron: str, time_zone: str, *, since: datetime, now: datetime) -> datetime:
    """The last tick up to `now`; `since` is one that has come, and the answer if no other has. Raise ValueError.

    Looks back an hour, then ever further: what is missed of a frequent one in a month is not counted through.
    """
    back = _FIRST_LOOK
    while True:
        start = max(since, now - back)
        ticks = list(takewhile(lambda tick: tick <= now, _ticks(cron, time_zone, start)))
        if ticks:
            return ticks[-1]
        if start == since:
            return since
        back *= 2


def _ticks(cron: str, time_zone: str, after: datetime) -> Iterator[datetime]:
    """In UTC. A library that reads the hour twice without knowing which it is in would begin before `after`."""
    local = (tick.astimezone(UTC) for tick in CronSim(cron, after.astimezone(zone_of(time_zone))))
    return (tick for tick in local if tick > after)
