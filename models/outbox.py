"""The outbox: webhook events on their way. Only who holds an endpoint claims and records its deliveries.

All functions take an open connection and leave the commit to the caller.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

from sqlalchemy import CursorResult, Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from models.base import new_id
from models.states import DeliveryState

DIGEST_JOBS = 500  # docs/contract.md: most jobs in one digest
_DIGEST_METADATA_BYTES = 2**20  # of all jobs of a digest together: users choose it, the rest of a body is bounded


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery in hand. `tries`: before this one. Those of a digest share `digest_id` and are claimed together."""

    id: uuid.UUID
    version: int
    tries: int
    type: str
    created_at: datetime
    seq: int
    batch_id: uuid.UUID | None
    job_id: uuid.UUID | None
    endpoint_id: uuid.UUID
    digest_id: uuid.UUID | None
    schedule_run_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class DeliveryMove:
    """What became of one call. `members`: the deliveries it told of, id and version; more than one for a digest.

    `due_s`: seconds until the next try, None once it is final.
    """

    id: uuid.UUID
    members: tuple[tuple[uuid.UUID, int], ...]
    state: DeliveryState
    due_s: float | None
    http_status: int | None = None
    error: str | None = None


# Whatever the planner believes: what is written is found by its id. Statistics of a quiet hour say that nothing is
# pending, and a plan that reads all that is for each row looks cheapest then. So the index of what is pending is for
# _LOOK alone; the others say `due_at IS NOT NULL`, which is the same by a CHECK (docs/decisions/0023).
#
# A delivery that must wait for an earlier one of its subject is not due before that one is: so nothing that is blocked
# looks due for long, and in order of (due_at, seq) the first that is due is never blocked by a later one.
_LOOK = text(
    """
    WITH due AS MATERIALIZED (
        SELECT id, subject_id, seq, due_at, is_digest, digest_id FROM deliveries
        WHERE endpoint_id = :endpoint AND state = 'pending' AND due_at <= now()
        ORDER BY due_at, seq LIMIT :limit
    ), judged AS (
        SELECT due.*, earlier.due_at AS earlier_due_at
        FROM due LEFT JOIN LATERAL (
            SELECT due_at FROM deliveries
            WHERE endpoint_id = :endpoint AND state = 'pending' AND subject_id = due.subject_id AND seq < due.seq
            ORDER BY seq LIMIT 1
        ) AS earlier ON true
    ), postponed AS (
        UPDATE deliveries SET due_at = judged.earlier_due_at FROM judged
        WHERE deliveries.id = judged.id AND deliveries.due_at IS NOT NULL AND judged.earlier_due_at > judged.due_at
    )
    SELECT id, is_digest, digest_id, earlier_due_at IS NULL AS is_free FROM judged ORDER BY due_at, seq
    """
)
_CLAIMED = """
    RETURNING id, version, tries, type, created_at, seq, batch_id, job_id, endpoint_id, digest_id, schedule_run_id
"""
_CLAIM = text(
    f"UPDATE deliveries SET hold = 'held', version = version + 1 WHERE id = ANY(:ids) AND due_at IS NOT NULL {_CLAIMED}"
)
_CLAIM_DIGEST = text(
    f"""
    UPDATE deliveries SET hold = 'held', version = version + 1
    WHERE endpoint_id = :endpoint AND digest_id = :digest AND due_at IS NOT NULL {_CLAIMED}
    """
)
_MAKE_DIGEST = text(
    f"""
    WITH sized AS MATERIALIZED (
        SELECT next.id, coalesce(octet_length(job.metadata::text), 0) AS size, next.place
        FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS next (id, place)
        JOIN deliveries ON deliveries.id = next.id LEFT JOIN jobs AS job ON job.id = deliveries.job_id
    ), summed AS MATERIALIZED (
        SELECT id, sum(size) OVER (ORDER BY place ROWS UNBOUNDED PRECEDING) - size AS size_before FROM sized
    )
    UPDATE deliveries SET hold = 'held', version = version + 1, digest_id = :digest
    WHERE id = ANY(ARRAY(SELECT id FROM summed WHERE size_before <= :bytes)) AND due_at IS NOT NULL {_CLAIMED}
    """
)


async def claim_deliveries(connection: AsyncConnection, endpoint_id: uuid.UUID, *, limit: int) -> list[ClaimedDelivery]:
    """What is to be told next: up to `limit` single deliveries in order, or all of one digest. Nothing: nothing is due.

    For who holds the endpoint, in the transaction that prolonged its lease. Whoever held the deliveries before has
    lost them. They keep their `due_at`, and so their place: the endpoint's lease is theirs.
    """
    while rows := await _look(connection, endpoint_id, limit):
        free = [row for row in rows if row.is_free]
        if claimed := free and await _claim(connection, endpoint_id, free):
            return claimed
    return []


async def _look(connection: AsyncConnection, endpoint_id: uuid.UUID, limit: int) -> Sequence[Row[Any]]:
    return (await connection.execute(_LOOK, {"endpoint": endpoint_id, "limit": limit})).all()


async def _claim(
    connection: AsyncConnection, endpoint_id: uuid.UUID, free: Sequence[Row[Any]]
) -> list[ClaimedDelivery]:
    """A digest when it is its turn, otherwise what comes before the next one."""
    if free[0].is_digest:
        rows = await _claim_digest(connection, endpoint_id, free[0].digest_id)
        return sorted(_claimed(rows), key=lambda delivery: delivery.seq)
    ids = [row.id for row in takewhile(lambda row: not row.is_digest, free)]
    place = {delivery_id: number for number, delivery_id in enumerate(ids)}
    rows = await connection.execute(_CLAIM, {"ids": ids})
    return sorted(_claimed(rows), key=lambda delivery: place[delivery.id])


async def _claim_digest(
    connection: AsyncConnection, endpoint_id: uuid.UUID, digest_id: uuid.UUID | None
) -> CursorResult[Any]:
    """The same members on every try; a new digest takes what is due by now."""
    if digest_id is not None:
        return await connection.execute(_CLAIM_DIGEST, {"endpoint": endpoint_id, "digest": digest_id})
    rows = await _look(connection, endpoint_id, DIGEST_JOBS)
    ids = [row.id for row in rows if row.is_free and row.is_digest and row.digest_id is None]
    members = {"ids": ids, "digest": new_id(), "bytes": _DIGEST_METADATA_BYTES}
    return await connection.execute(_MAKE_DIGEST, members)


def _claimed(rows: CursorResult[Any]) -> list[ClaimedDelivery]:
    return [ClaimedDelivery(**row) for row in rows.mappings()]


_RECORD = text(
    """
    UPDATE deliveries SET
        state = move.state, hold = 'idle', tries = tries + 1, http_status = move.http_status, error = move.error,
        due_at = CASE WHEN move.state = 'pending' THEN now() + make_interval(secs => move.due_s) END,
        finished_at = CASE WHEN move.state <> 'pending' THEN now() END
    FROM jsonb_to_recordset(:rows) AS move (
        id uuid, version int, move_id uuid, state text, due_s float8, http_status int, error text)
    WHERE deliveries.id = move.id AND deliveries.version = move.version AND deliveries.hold = 'held'
      AND deliveries.due_at IS NOT NULL
    RETURNING move.move_id
    """
).bindparams(bindparam("rows", type_=JSONB))


async def record_deliveries(connection: AsyncConnection, moves: Sequence[DeliveryMove]) -> set[uuid.UUID]:
    """Write what became of calls, a digest's members all alike; the ids of the moves that took."""
    rows = [row for move in moves for row in _rows(move)]
    return set((await connection.execute(_RECORD, {"rows": rows})).scalars())


def _rows(move: DeliveryMove) -> list[dict[str, Any]]:
    outcome = {
        "move_id": str(move.id),
        "state": move.state,
        "due_s": move.due_s,
        "http_status": move.http_status,
        "error": move.error,
    }
    return [{"id": str(delivery_id), "version": version, **outcome} for delivery_id, version in move.members]
