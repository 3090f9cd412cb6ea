"""Webhook deliveries: due, claimed and recorded the way jobs are."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from models.admission import RESEND_S
from models.claims import LEASE_S
from models.states import DeliveryState


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    id: uuid.UUID
    version: int
    tries: int  # this one included
    type: str
    url: str
    secret: str
    created_at: datetime
    batch_id: uuid.UUID | None
    job_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class DeliveryMove:
    """One transition of a delivery. `due_s`: seconds until the next try, None once it is final."""

    id: uuid.UUID
    version: int
    state: DeliveryState
    due_s: float | None
    http_status: int | None = None
    error: str | None = None


_DUE = text(
    """
    UPDATE deliveries SET hold = 'sent', due_at = now() + make_interval(secs => :resend)
    WHERE id IN (SELECT id FROM deliveries WHERE state = 'pending' AND due_at <= now()
                 ORDER BY due_at
                 LIMIT greatest(0, :limit - (SELECT count(*) FROM deliveries WHERE state = 'pending' AND hold = 'sent'))
                 FOR UPDATE SKIP LOCKED)
    RETURNING id
    """
)


def take_due_deliveries(connection: Connection, *, limit: int) -> list[uuid.UUID]:
    """As many as make `limit` in messages: slow receivers must not fill the broker."""
    return list(connection.execute(_DUE, {"resend": RESEND_S, "limit": limit}).scalars())


_UNSENT = text(
    "UPDATE deliveries SET hold = 'idle', due_at = now() + make_interval(secs => 1) "
    "WHERE id = ANY(:ids) AND hold = 'sent'"
)


def unsend_deliveries(connection: Connection, ids: Sequence[uuid.UUID]) -> None:
    """The broker did not take the message: due again in a second."""
    connection.execute(_UNSENT, {"ids": list(ids)})


_CLAIM = text(
    """
    UPDATE deliveries SET hold = 'held', version = version + 1, tries = tries + 1,
           due_at = now() + make_interval(secs => :lease)
    FROM accounts
    WHERE deliveries.id = ANY(:ids) AND state = 'pending' AND hold = 'sent' AND accounts.id = deliveries.account_id
    RETURNING deliveries.id, version, tries, type, url, accounts.webhook_secret AS secret, deliveries.created_at,
              batch_id, job_id
    """
)


async def claim_deliveries(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> list[ClaimedDelivery]:
    """The lease outlives a delivery's 15 s, so it needs no heartbeat."""
    rows = await connection.execute(_CLAIM, {"ids": list(ids), "lease": LEASE_S})
    return [ClaimedDelivery(**row) for row in rows.mappings()]


_RECORD = text(
    """
    UPDATE deliveries SET state = :state, hold = 'idle', http_status = :http_status, error = :error,
           due_at = now() + make_interval(secs => :due_s),
           finished_at = CASE WHEN :state <> 'pending' THEN now() END
    WHERE id = :id AND version = :version AND hold = 'held'
    """
)


async def record_delivery(connection: AsyncConnection, move: DeliveryMove) -> None:
    await connection.execute(
        _RECORD,
        {
            "id": move.id,
            "version": move.version,
            "state": move.state,
            "due_s": move.due_s,
            "http_status": move.http_status,
            "error": move.error,
        },
    )
