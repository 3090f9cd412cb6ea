"""Who goes next: the statements of the leading dispatcher's admission. One transaction, opened by the caller."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, text

from models.base import quoted
from models.states import IN_FLIGHT_STATES

RESEND_S = 60.0  # a message that nobody has taken by then is sent again


@dataclass(frozen=True, slots=True)
class Lane:
    """A batch (or an account's lone jobs) with jobs due in one priority band. `money_usd` is None without a budget."""

    priority: int
    lane_id: uuid.UUID
    weight: int
    in_flight: int
    money_usd: Decimal | None
    is_over: bool = False  # the batch is cancelled or finished: what still waits in it is not called any more


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
    """
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
           batch.budget_usd - (progress.spent_usd + progress.reserved_usd) AS money_usd
    FROM lane
    LEFT JOIN batches AS batch ON batch.id = lane.lane_id
    LEFT JOIN batch_progress AS progress ON progress.batch_id = batch.id AND batch.budget_usd IS NOT NULL
    WHERE (batch.paused_at IS NULL OR batch.cancelled_at IS NOT NULL)
      AND EXISTS (SELECT FROM jobs WHERE state = 'queued' AND priority = lane.priority AND lane_id = lane.lane_id
                  AND due_at <= now())
    ORDER BY lane.priority, lane.lane_id
    """
)


def waiting_lanes(connection: Connection, in_flight: dict[uuid.UUID, int]) -> list[Lane]:
    return [
        Lane(row.priority, row.lane_id, row.weight, in_flight.get(row.lane_id, 0), row.money_usd, row.is_over)
        for row in connection.execute(_LANES)
    ]


# SKIP LOCKED: a cancel in progress must not hold up everybody else's admission.
_ADMIT = text(
    """
    WITH lane AS (
        SELECT * FROM unnest(CAST(:priorities AS int[]), CAST(:lanes AS uuid[]), CAST(:slots AS int[]),
                             CAST(:money AS numeric[])) AS l (priority, lane_id, slots, money_usd)
    ), pick AS (
        SELECT next.id FROM lane CROSS JOIN LATERAL (
            SELECT id, sum(estimate_usd) OVER (ORDER BY due_at, id) AS sum_usd FROM (
                SELECT id, due_at, estimate_usd FROM jobs
                WHERE state = 'queued' AND priority = lane.priority AND lane_id = lane.lane_id AND due_at <= now()
                ORDER BY due_at, id LIMIT lane.slots FOR UPDATE SKIP LOCKED
            ) AS first
        ) AS next WHERE lane.money_usd IS NULL OR next.sum_usd <= lane.money_usd
    )
    UPDATE jobs SET state = 'submitting', hold = 'sent', due_at = now() + make_interval(secs => :resend)
    FROM pick WHERE jobs.id = pick.id
    RETURNING jobs.id, jobs.lane_id
    """
)


def admit(connection: Connection, slots: Sequence[tuple[Lane, int]]) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Admit up to so many jobs a lane, as far as its money goes; (job id, lane id) of each. Reserves by admitting."""
    rows = connection.execute(
        _ADMIT,
        {
            "priorities": [lane.priority for lane, _ in slots],
            "lanes": [lane.lane_id for lane, _ in slots],
            "slots": [count for _, count in slots],
            "money": [lane.money_usd for lane, _ in slots],
            "resend": RESEND_S,
        },
    )
    return [(row.id, row.lane_id) for row in rows]


_CANCEL_LEFT = text(
    """
    UPDATE jobs SET state = 'cancelled', due_at = NULL, finished_at = now()
    WHERE id IN (SELECT id FROM jobs WHERE state = 'queued' AND lane_id = ANY(:lanes) LIMIT 10000
                 FOR UPDATE SKIP LOCKED)
    """
)


def cancel_left(connection: Connection, lanes: Sequence[Lane]) -> None:
    """End what came back to `queued`, or came in, just when its batch was cancelled."""
    connection.execute(_CANCEL_LEFT, {"lanes": [lane.lane_id for lane in lanes]})


_UNSTORED = text("SELECT count(*) FROM jobs WHERE state = 'storing'")


def count_unstored(connection: Connection) -> int:
    """Results that are paid for and not in the bucket yet."""
    return int(connection.execute(_UNSTORED).scalar_one())


_EXPIRE = text(
    """
    UPDATE jobs SET state = 'expired', due_at = NULL, finished_at = now(), error_code = 'expired',
           error_message = 'its expires_at passed before it was admitted'
    WHERE id IN (SELECT id FROM jobs WHERE state = 'queued' AND expires_at <= now()
                 LIMIT 1000 FOR UPDATE SKIP LOCKED)
    """
)


def expire(connection: Connection) -> None:
    """End what waited beyond its `expires_at`."""
    connection.execute(_EXPIRE)


_PAUSE_WITHOUT_MONEY = text(
    """
    UPDATE batches SET paused_at = now(), paused_reason = 'budget'
    WHERE id IN (SELECT id FROM batches WHERE id = :lane AND paused_at IS NULL AND finished_at IS NULL
                 FOR UPDATE SKIP LOCKED)
      AND (SELECT estimate_usd FROM jobs WHERE state = 'queued' AND priority = :priority AND lane_id = :lane
           AND due_at <= now() ORDER BY due_at, id LIMIT 1) > :money
    """
)


def pause_without_money(connection: Connection, lane: Lane) -> None:
    """Pause the lane's batch if its budget does not cover its next job."""
    if lane.money_usd is not None:
        connection.execute(
            _PAUSE_WITHOUT_MONEY, {"lane": lane.lane_id, "priority": lane.priority, "money": lane.money_usd}
        )
