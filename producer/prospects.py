"""Whether what would be submitted now comes in time and within its account's budgets; nothing is written or spent."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, text

from clients.phota_requests import Operation
from models.forecast import finishes_at
from models.health import read_upstream
from models.moments import written
from models.money import Spending, read_spending
from models.outlook import fleet_pace, likely_s
from producer.batches import BatchLimits
from producer.estimating import Caution, Tally


@dataclass(frozen=True, slots=True)
class Prospects:
    """What is known at `now`: money of the account, and of calls how many go at once and how long they take."""

    now: datetime
    spending: Spending
    in_flight_limit: float
    latency_s: Mapping[str, float]


def read_prospects(connection: Connection, account_id: uuid.UUID) -> Prospects:
    now = connection.execute(text("SELECT now()")).scalar_one()
    upstream = read_upstream(connection)
    spending = read_spending(connection, account_id)
    return Prospects(now, spending, upstream.in_flight_limit, upstream.latency_s)


def cautions(tally: Tally, limits: BatchLimits, known: Prospects) -> list[Caution]:
    """Of the account's budgets, the window and the deadline; nothing is said of what nobody can tell yet."""
    if not tally.jobs:
        return []
    found = [
        *_of_budgets(tally, known.spending),
        _of_window(tally, limits, known) or _of_deadline(tally, limits, known),
    ]
    return [caution for caution in found if caution is not None]


def _of_budgets(tally: Tally, spending: Spending) -> Iterable[Caution | None]:
    yield _of_budget(tally, "day", spending.budget_day_usd, spending.day_usd)
    yield _of_budget(tally, "month", spending.budget_month_usd, spending.month_usd)


def _of_budget(tally: Tally, span: str, budget_usd: Decimal | None, used_usd: Decimal) -> Caution | None:
    if budget_usd is None or used_usd + tally.high_usd <= budget_usd:
        return None
    left_usd = max(Decimal(0), budget_usd - used_usd)
    text = (
        f"The account's budget of the {span} leaves ${left_usd:.2f} of ${budget_usd:.2f}, and these may cost "
        f"${tally.high_usd:.2f}: what it does not cover goes on by itself next {span}."
    )
    return Caution(f"account_budget_{span}", text)


def _of_window(tally: Tally, limits: BatchLimits, known: Prospects) -> Caution | None:
    """Where a call takes longer than the window is open, nothing would ever begin."""
    if limits.window is None:
        return None
    slowest_s = max((likely_s(operation, known.latency_s) for operation in tally.operations), default=0.0)
    open_s = limits.window.length.total_seconds()
    if open_s > slowest_s:
        return None
    text = f"The window is open for {open_s:.0f} s, and a call takes about {slowest_s:.0f} s: none would be begun."
    return Caution("window_too_short", text)


def _of_deadline(tally: Tally, limits: BatchLimits, known: Prospects) -> Caution | None:
    pace = fleet_pace(known.in_flight_limit, _measured(tally.operations, known.latency_s))
    if limits.deadline is None or pace is None:
        return None
    latency_s = max(likely_s(operation, known.latency_s) for operation in tally.operations)
    done_at = finishes_at(known.now, jobs=tally.jobs, jobs_per_s=pace, window=limits.window, latency_s=latency_s)
    if done_at is not None and done_at <= limits.deadline:
        return None
    when = "years later" if done_at is None else f"about {written(done_at.replace(microsecond=0))}"
    text = f"At {pace:.3g} jobs/s, as the fleet can do now, these end {when}: what the deadline leaves over expires."
    return Caution("deadline_not_met", text)


def _measured(operations: Iterable[Operation], latency_s: Mapping[str, float]) -> Mapping[str, float]:
    """Of these operations; of all where none of them was measured yet."""
    return {name: latency_s[name] for name in operations if name in latency_s} or latency_s
