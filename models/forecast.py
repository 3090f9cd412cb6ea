"""When a batch will be done: pure arithmetic over a pace and a window."""

from datetime import UTC, datetime, timedelta

from models.windows import Window

HORIZON = timedelta(days=3_653)  # ten years: beyond that a forecast says nothing, and looking for it must end


def finishes_at(
    now: datetime, *, jobs: int, jobs_per_s: float | None, window: Window | None, latency_s: float = 0.0
) -> datetime | None:
    """The moment, in UTC, at which the last of `jobs` jobs that have not begun is done; `now` if there are none.

    They begin at the pace of `jobs_per_s` while the window is open, but none in the last `latency_s` of an opening, and
    each is done `latency_s` after it began: so the last one is done before its opening ends. None if that never comes
    (no known pace, a window no longer than `latency_s`) or comes more than ten years from now.
    """
    now = now.astimezone(UTC)
    if jobs <= 0:
        return now
    if not (jobs_per_s and jobs_per_s > 0) or jobs / jobs_per_s > HORIZON.total_seconds():
        return None
    work, latency = timedelta(seconds=jobs / jobs_per_s), timedelta(seconds=latency_s)
    done_at = now + work + latency if window is None else _within(window, now, work=work, latency=latency)
    return done_at if done_at and done_at <= now + HORIZON else None


def _within(window: Window, now: datetime, *, work: timedelta, latency: timedelta) -> datetime | None:
    """Spend `work` opening by opening; the horizon bounds how many are looked at."""
    if window.length <= latency:  # it might fit in the one night a year that is an hour longer, but that is no plan
        return None
    for span in window.spans(now):
        begins_at = max(now, span.opens_at)
        if begins_at > now + HORIZON:
            break
        room = max(span.closes_at - latency - begins_at, timedelta(0))
        if work <= room:
            return begins_at + work + latency
        work -= room
    return None
