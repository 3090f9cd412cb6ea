"""What lies ahead of a batch: what it waits for, and when it will be done. Pure functions of one snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from models.forecast import finishes_at
from models.moments import written
from models.windows import Window

UNKNOWN_S = 90.0  # of a call whose latency nobody has measured yet: the longest that Phota's documentation tells


class WaitingFor(StrEnum):
    """What alone keeps a batch from beginning its next job."""

    WINDOW = "window"
    ACCOUNT_BUDGET_DAY = "account_budget_day"
    ACCOUNT_BUDGET_MONTH = "account_budget_month"


@dataclass(frozen=True, slots=True)
class Waiting:
    """`until`: in the zone of the window, or of the account; None where a call never fits into the window."""

    reason: WaitingFor
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the last job will be done at the pace of `jobs_per_s`; None of each: nobody can tell."""

    finishes_at: datetime | None
    jobs_per_s: float | None
    meets_deadline: bool | None

    def as_json(self) -> dict[str, Any]:
        pace = None if self.jobs_per_s is None else float(f"{self.jobs_per_s:.4g}")
        return {
            "finishes_at": written(self.finishes_at),
            "jobs_per_s": pace,
            "meets_deadline": self.meets_deadline,
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a batch stands. Money in USD.

    `queued`, `in_flight`: jobs. `operation` and `next_usd`: of the next job, None if none waits. `left_day_usd` and
    `left_month_usd`: of the account's budgets, None without one; its days begin in `time_zone`. `latency_s`: of calls,
    by operation.
    """

    now: datetime
    queued: int
    in_flight: int
    is_paused: bool
    window: Window | None
    deadline: datetime | None
    jobs_per_s: float | None
    latency_s: Mapping[str, float]
    operation: str | None = None
    next_usd: Decimal | None = None
    left_day_usd: Decimal | None = None
    left_month_usd: Decimal | None = None
    time_zone: str = "UTC"


def likely_s(operation: str | None, latency_s: Mapping[str, float]) -> float:
    return latency_s.get(operation or "", UNKNOWN_S)


def fleet_pace(in_flight_limit: float, latency_s: Mapping[str, float]) -> float | None:
    """Jobs a second that the fleet can do of its slowest operation; None before any was measured."""
    return in_flight_limit / max(latency_s.values()) if latency_s else None


def opens_at(window: Window, now: datetime, *, call_s: float) -> datetime | None:
    """When a call of so many seconds may begin, `now` or later; None: the window is never open for so long."""
    call = timedelta(seconds=call_s)
    if window.length < call:  # it might fit in the one night a year that is an hour longer
        return None
    return next(
        begins_at
        for span in window.spans(now)
        if (begins_at := max(now, span.opens_at)) + call <= span.closes_at and begins_at < span.closes_at
    )


def waiting(standing: Standing) -> Waiting | None:
    """What keeps the next job from beginning, with nothing in flight that might free it: whatever lasts longest."""
    if standing.is_paused or not standing.queued or standing.in_flight:
        return None
    found = [each for each in (_for_window(standing), _for_money(standing)) if each is not None]
    return max(found, key=lambda each: (each.until is None, each.until or standing.now), default=None)


def _for_window(standing: Standing) -> Waiting | None:
    if standing.window is None:
        return None
    call_s = likely_s(standing.operation, standing.latency_s)
    until = opens_at(standing.window, standing.now, call_s=call_s)
    if until is not None and until <= standing.now:
        return None
    return Waiting(WaitingFor.WINDOW, until and until.astimezone(standing.window.zone))


def _for_money(standing: Standing) -> Waiting | None:
    needed = standing.next_usd
    if needed is None:
        return None
    zone = ZoneInfo(standing.time_zone)
    today = standing.now.astimezone(zone).date()
    if standing.left_month_usd is not None and needed > standing.left_month_usd:
        first = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
        return Waiting(WaitingFor.ACCOUNT_BUDGET_MONTH, datetime.combine(first, time.min, zone))
    if standing.left_day_usd is not None and needed > standing.left_day_usd:
        return Waiting(WaitingFor.ACCOUNT_BUDGET_DAY, datetime.combine(today + timedelta(days=1), time.min, zone))
    return None


def forecast(standing: Standing, waits: Waiting | None) -> Forecast:
    """At its own pace, in its window, from when it may go on. A batch that is paused goes nowhere by itself."""
    pace = standing.jobs_per_s
    if standing.is_paused or not (standing.queued or standing.in_flight):
        return Forecast(None, pace, None)
    done_at = _done_at(standing, waits)
    if standing.deadline is None or not pace:
        return Forecast(done_at, pace, None)
    return Forecast(done_at, pace, done_at is not None and done_at <= standing.deadline)


def _done_at(standing: Standing, waits: Waiting | None) -> datetime | None:
    if not standing.queued:  # what is in flight ends in its turn, whatever the window
        return finishes_at(standing.now, jobs=standing.in_flight, jobs_per_s=standing.jobs_per_s, window=None)
    if waits is not None and waits.until is None:
        return None
    if standing.window is None:
        latency_s = standing.latency_s.get(standing.operation or "", 0.0)
    else:
        latency_s = likely_s(standing.operation, standing.latency_s)
    return finishes_at(
        waits.until if waits is not None and waits.until is not None else standing.now,
        jobs=standing.queued,
        jobs_per_s=standing.jobs_per_s,
        window=standing.window,
        latency_s=latency_s,
    )
