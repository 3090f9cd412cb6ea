"""Deliveries as people look at them and have them sent again. One transaction, opened by the caller."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from models.moments import written
from models.states import DeliveryState


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """An event and how far it came. `due_at`: the next try, None once it is final."""

    id: uuid.UUID
    seq: int
    type: str
    endpoint_id: uuid.UUID
    url: str
    batch_id: uuid.UUID | None
    job_id: uuid.UUID | None
    schedule_run_id: uuid.UUID | None
    digest_id: uuid.UUID | None
    state: DeliveryState
    tries: int
    http_status: int | None
    error: str | None
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None

    @property
    def webhook_id(self) -> str:
        """As the receiver sees it."""
        return f"msg_{(self.digest_id or self.id).hex}"

    def as_json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "webhook_id": self.webhook_id,
            "type": self.type,
            "endpoint_id": str(self.endpoint_id),
            "url": self.url,
            "batch_id": self.batch_id and str(self.batch_id),
            "job_id": self.job_id and str(self.job_id),
            "schedule_run_id": self.schedule_run_id and str(self.schedule_run_id),
            "state": self.state.value,
            "tries": self.tries,
            "http_status": self.http_status,
            "error": self.error,
            "created_at": written(self.created_at),
            "due_at": written(self.due_at),
            "finished_at": written(self.finished_at),
        }


_VIEW = """
    SELECT id, seq, type, endpoint_id, url, batch_id, job_id, schedule_run_id, digest_id, state, tries, http_status,
           error, created_at, due_at, finished_at
    FROM deliveries
"""
# Through the index of each endpoint, or through that of the failed ones.
_LIST = """
    SELECT delivery.* FROM webhook_endpoints AS endpoint CROSS JOIN LATERAL (
        {view} WHERE endpoint_id = endpoint.id AND {which} ORDER BY seq DESC LIMIT :limit
    ) AS delivery
    WHERE endpoint.account_id = :account AND (CAST(:endpoint AS uuid) IS NULL OR endpoint.id = :endpoint)
    ORDER BY delivery.seq DESC LIMIT :limit
"""
_LIST_ALL = text(_LIST.format(view=_VIEW, which="true"))
_LIST_FAILED = text(_LIST.format(view=_VIEW, which="state = 'failed'"))
_GET = text(_VIEW + " WHERE id = :id")


def list_deliveries(
    connection: Connection, account_id: uuid.UUID, *, endpoint_id: uuid.UUID | None, failed: bool, limit: int
) -> list[DeliveryView]:
    """Newest first, of one endpoint or of all; with `failed` only those that were given up."""
    statement = _LIST_FAILED if failed else _LIST_ALL
    values = {"account": account_id, "endpoint": endpoint_id, "limit": limit}
    return [DeliveryView(**_plain(row)) for row in connection.execute(statement, values).mappings()]


def read_delivery(connection: Connection, delivery_id: uuid.UUID) -> DeliveryView:
    return DeliveryView(**_plain(connection.execute(_GET, {"id": delivery_id}).mappings().one()))


def _plain(row: Any) -> dict[str, Any]:
    return {**row, "state": DeliveryState(row["state"])}


# A digest is sent again whole: a receiver that knows its id must find the same members.
_REPLAY = """
    WITH chosen AS (
        SELECT id, digest_id FROM deliveries
        WHERE endpoint_id = :endpoint AND {which}
          AND CASE WHEN CAST(:id AS uuid) IS NULL THEN type <> 'webhook.ping' ELSE id = :id END
          AND (CAST(:since AS timestamptz) IS NULL OR created_at >= :since)
    ), whole AS (
        SELECT id FROM chosen
        UNION
        SELECT member.id FROM deliveries AS member
        WHERE member.digest_id IN (SELECT digest_id FROM chosen) AND member.endpoint_id = :endpoint
    )
    UPDATE deliveries SET state = 'pending', due_at = now(), hold = 'idle', tries = 0, http_status = NULL, error = NULL,
           finished_at = NULL
    FROM whole WHERE deliveries.id = whole.id AND deliveries.state <> 'pending'
"""
_REPLAY_FAILED = text(_REPLAY.format(which="state = 'failed'"))
_REPLAY_ALL = text(_REPLAY.format(which="state <> 'pending'"))


def replay(
    connection: Connection,
    endpoint_id: uuid.UUID,
    *,
    delivered_too: bool,
    since: datetime | None = None,
    delivery_id: uuid.UUID | None = None,
) -> int:
    """Pending again with their old ids, as if never tried; how many. The caller has checked whose the endpoint is."""
    statement = _REPLAY_ALL if delivered_too or delivery_id else _REPLAY_FAILED
    return connection.execute(statement, {"endpoint": endpoint_id, "since": since, "id": delivery_id}).rowcount


_PING = text(
    """
    INSERT INTO deliveries (account_id, type, endpoint_id, url, due_at)
    SELECT account_id, :type, id, url, now() - interval '1 day' FROM webhook_endpoints WHERE id = :endpoint
    RETURNING id
    """
)
_CLOSE_PING = text(
    """
    UPDATE deliveries SET state = 'failed', due_at = NULL, hold = 'idle', finished_at = now(),
           error = coalesce(error, 'ping_given_up')
    WHERE id = :id AND state = 'pending'
    """
)


def insert_ping(connection: Connection, endpoint_id: uuid.UUID, *, event_type: str) -> uuid.UUID:
    """An event of no job or batch, due before anything that waits for the endpoint."""
    return uuid.UUID(str(connection.execute(_PING, {"endpoint": endpoint_id, "type": event_type}).scalar_one()))


def close_ping(connection: Connection, delivery_id: uuid.UUID) -> None:
    """Nobody waits for it any more: it is not tried again."""
    connection.execute(_CLOSE_PING, {"id": delivery_id})
