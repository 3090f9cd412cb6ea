"""Who waits to be admitted: lanes, and what of each is under way. One transaction, opened by the caller."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, RowMapping, text

from models.base import quoted
from models.failures import IS_FAILING, UNJUDGED
from models.money import account_money
from models.states import IN_FLIGHT_STATES


@dataclass(frozen=True, slots=True)
class Lane:
    """A batch (or an account's lone jobs) with jobs due in one priority band.

    `money_usd` and `account_usd`: what its budget and its account's budgets still cover; None without one. `room_s`:
    seconds by whose end a call that begins now has to be done, as its window and deadline say; None: whenever.
    `operation` and `next_usd`: of its next job, and the most that it costs. `most`: how many more may be in flight.
    `given`: how many were admitted lately.
    """

    priority: int
    lane_id: uuid.UUID
    weight: int
    in_flight: int
    money_usd: Decimal | None = None
    account_id: uuid.UUID | None = None
    account_usd: Decimal | None = None
    is_over: bool = False  # the batch is cancelled or finished: what still waits in it is not called any more
    window: str | None = None
    deadline: datetime | None = None
    room_s: float | None = None
    operation: str | None = None
    next_usd: Decimal | None = None
    budget_usd: Decimal | None = None
    most: int | None = None
    given: float = 0.0


# A generation that goes on with an earlier call (it has that one's `client_request_id`) keeps Phota no busier.
_COUNT_IN_FLIGHT = text(
    f"""
    SELECT lane_id, count(*) AS n FROM jobs
    WHERE state IN ({quoted(IN_FLIGHT_STATES)}) AND client_request_id = replace(id::text, '-', '') GROUP BY lane_id
    """
)


def in_flight_by_lane(connection: Connection) -> dict[uuid.UUID, int]:
    return {row.lane_id: row.n for row in connection.execute(_COUNT_IN_FLIGHT)}


# Steps from one (priority, lane) to the next through the index, so its cost is the number of lanes, not of jobs.
_LANES = text(
    f"""
    WITH RECURSIVE lane AS (
        (SELECT priority, lane_id FROM jobs WHERE state = 'queued' ORDER BY priority, lane_id LIMIT 1)
        UNION ALL
        SELECT next.priority, next.lane_id FROM lane CROSS JOIN LATERAL (
            SELECT priority, lane_id FROM jobs
            WHERE state = 'queued' AND (priority, lane_id) > (lane.priority, lane.lane_id)
            ORDER BY priority, lane_id LIMIT 1
        ) AS next
    )
    SELECT lane.priority, lane.lane_id, coalesce(batch.weight, 1) AS weight,
           coalesce(batch.cancelled_at, batch.finished_at) IS NOT NULL AS is_over,
           batch.budget_usd, batch.budget_usd - (progress.spent_usd + progress.reserved_usd) AS money_usd,
           batch.admission_window AS window, batch.deadline, head.*,
           {UNJUDGED} AS unjudged
    FROM lane
    JOIN LATERAL (
        SELECT account_id, operation, estimate_usd AS next_usd FROM jobs
        WHERE state = 'queued' AND priority = lane.priority AND lane_id = lane.lane_id AND due_at <= now()
        ORDER BY due_at, id LIMIT 1
    ) AS head ON true
    LEFT JOIN batches AS batch ON batch.id = lane.lane_id
    LEFT JOIN batch_progress AS progress ON progress.batch_id = batch.id
        AND (batch.budget_usd IS NOT NULL OR batch.max_failure_rate IS NOT NULL)
    WHERE batch.cancelled_at IS NOT NULL OR (batch.paused_at IS NULL AND {IS_FAILING} IS NOT TRUE)
    ORDER BY lane.priority, lane.lane_id
    """
)


def waiting_lanes(connection: Connection, in_flight: dict[uuid.UUID, int]) -> list[Lane]:
    rows = connection.execute(_LANES).mappings().all()
    money = account_money(connection, {row["account_id"] for row in rows})
    return [_lane(row, in_flight.get(row["lane_id"], 0), money) for row in rows]


def _lane(row: RowMapping, in_flight: int, money: Mapping[uuid.UUID, Decimal]) -> Lane:
    """Until a batch's failures can be judged, no more of it is in flight than the judgement takes."""
    fields = {name: value for name, value in row.items() if name != "unjudged"}
    most = None if row["unjudged"] is None else max(0, row["unjudged"] - in_flight)
    return Lane(in_flight=in_flight, account_usd=money.get(row["account_id"]), most=most, **fields)
