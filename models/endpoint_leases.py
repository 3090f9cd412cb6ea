"""Webhook endpoints in motion: dispatched and leased the way jobs are. Whoever holds one works on its deliveries.

Their deliveries are in outbox.py, administration in endpoints.py. All functions take an open connection and leave the
commit to the caller.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

LEASE_S = 45.0  # longer than a round: deliveries begin for 20 s, and each has 15 s
RESEND_S = 10.0  # a message that nobody has taken by then is sent again; it costs little, an endpoint is one id
HOPELESS_DAYS = 5  # docs/contract.md: an endpoint that has failed for so long is disabled


@dataclass(frozen=True, slots=True)
class EndpointLease:
    """An endpoint in hand, and the fence of every write for it."""

    id: uuid.UUID
    version: int


@dataclass(frozen=True, slots=True)
class HeldEndpoint:
    """What a round needs to know, as it is now. `secrets`: all that sign, the newest first."""

    url: str
    secrets: tuple[str, ...] = field(repr=False)
    is_failing: bool
    is_disabled: bool
    looked_at: datetime  # by the database's clock


@dataclass(frozen=True, slots=True)
class Health:
    """After a round. `failures`: in a row. `is_hopeless`: it has failed for five days without a success."""

    failures: int
    is_hopeless: bool


# Steps from one endpoint to the next through ix_deliveries_due: its cost is the number of endpoints, not of deliveries.
PENDING_ENDPOINTS = """
    WITH RECURSIVE pending AS (
        (SELECT endpoint_id, due_at FROM deliveries WHERE state = 'pending' ORDER BY endpoint_id, due_at LIMIT 1)
        UNION ALL
        SELECT next.endpoint_id, next.due_at FROM pending CROSS JOIN LATERAL (
            SELECT endpoint_id, due_at FROM deliveries
            WHERE state = 'pending' AND endpoint_id > pending.endpoint_id
            ORDER BY endpoint_id, due_at LIMIT 1
        ) AS next
    )
"""

# NO KEY: an event that is being written locks the key of its endpoint, which must not hide the endpoint.
_DUE = text(
    PENDING_ENDPOINTS
    + """
    , due AS MATERIALIZED (
        SELECT endpoint.id, endpoint.hold
        FROM pending JOIN webhook_endpoints AS endpoint ON endpoint.id = pending.endpoint_id
        WHERE pending.due_at <= now() AND endpoint.due_at <= now()
        ORDER BY endpoint.due_at LIMIT :limit FOR NO KEY UPDATE OF endpoint SKIP LOCKED
    )
    UPDATE webhook_endpoints SET hold = 'sent', due_at = now() + make_interval(secs => :resend)
    FROM due WHERE webhook_endpoints.id = due.id
    RETURNING webhook_endpoints.id, due.hold = 'sent' AS was_sent
    """
)


@dataclass(frozen=True, slots=True)
class DueEndpoints:
    """`again`: those that were sent before, and that nobody has taken since."""

    fresh: list[uuid.UUID]
    again: list[uuid.UUID]


def take_due_endpoints(connection: Connection, *, limit: int) -> DueEndpoints:
    """Those with a delivery due whose own `due_at` has passed, whoever held them: marked as sent."""
    rows = connection.execute(_DUE, {"resend": RESEND_S, "limit": limit}).all()
    fresh, again = ([row.id for row in rows if row.was_sent is sent] for sent in (False, True))
    return DueEndpoints(fresh, again)


_UNSENT = text(
    "UPDATE webhook_endpoints SET hold = 'idle', due_at = now() + make_interval(secs => 1) "
    "WHERE id = ANY(:ids) AND hold = 'sent'"
)


def unsend_endpoints(connection: Connection, ids: Sequence[uuid.UUID]) -> None:
    """The broker did not take the message: due again in a second."""
    connection.execute(_UNSENT, {"ids": list(ids)})


async def decline_endpoints(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> None:
    """The worker has no room for them: due again in a second, for whoever has."""
    await connection.execute(_UNSENT, {"ids": list(ids)})


_CLAIM = text(
    """
    UPDATE webhook_endpoints SET hold = 'held', version = version + 1, due_at = now() + make_interval(secs => :lease)
    WHERE id IN (SELECT id FROM webhook_endpoints WHERE id = ANY(:ids) AND hold = 'sent'
                 FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING id, version
    """
)


async def claim_endpoints(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> list[EndpointLease]:
    """Take those of `ids` that are still sent; the others are somebody else's."""
    rows = await connection.execute(_CLAIM, {"ids": list(ids), "lease": LEASE_S})
    return [EndpointLease(row.id, row.version) for row in rows]


_KEEP = text(
    """
    UPDATE webhook_endpoints AS endpoint SET due_at = now() + make_interval(secs => :lease)
    FROM accounts AS account
    WHERE endpoint.id = :id AND endpoint.version = :version AND endpoint.hold = 'held'
      AND account.id = endpoint.account_id
    RETURNING endpoint.url, endpoint.failing_since IS NOT NULL AS is_failing,
              endpoint.disabled_at IS NOT NULL AS is_disabled,
              coalesce(endpoint.secret, account.webhook_secret) AS secret, now() AS looked_at,
              CASE WHEN endpoint.secret IS NOT NULL
                   THEN CASE WHEN endpoint.old_secret_until > now() THEN endpoint.old_secret END
                   ELSE CASE WHEN account.old_webhook_secret_until > now() THEN account.old_webhook_secret END
              END AS old_secret
    """
)


async def keep_endpoint(connection: AsyncConnection, lease: EndpointLease) -> HeldEndpoint | None:
    """Prolong the lease; None if it is lost. Until the commit nobody else can take the endpoint."""
    values = {"id": lease.id, "version": lease.version, "lease": LEASE_S}
    row = (await connection.execute(_KEEP, values)).one_or_none()
    if row is None:
        return None
    secrets = tuple(secret for secret in (row.secret, row.old_secret) if secret)
    return HeldEndpoint(row.url, secrets, row.is_failing, row.is_disabled, row.looked_at)


_RELEASE = text(
    """
    UPDATE webhook_endpoints SET hold = 'idle', due_at = now() + make_interval(secs => :due_s)
    WHERE id = :id AND version = :version AND hold = 'held'
    """
)
# What was claimed and not tried; it kept its `due_at`, so it is still the next.
_HAND_BACK = text(
    """
    UPDATE deliveries SET hold = 'idle'
    FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS int[])) AS mine (id, version)
    WHERE deliveries.id = mine.id AND deliveries.version = mine.version AND hold = 'held'
    """
)


async def release_endpoint(
    connection: AsyncConnection, lease: EndpointLease, *, due_s: float, untried: Sequence[tuple[uuid.UUID, int]] = ()
) -> None:
    """Nobody holds it any more; the dispatcher looks at it again in `due_s` seconds at the earliest."""
    if untried:
        ids, versions = zip(*untried, strict=True)
        await connection.execute(_HAND_BACK, {"ids": list(ids), "versions": list(versions)})
    await connection.execute(_RELEASE, {"id": lease.id, "version": lease.version, "due_s": due_s})


_NOTE = text(
    f"""
    UPDATE webhook_endpoints SET
        failures = CASE WHEN :took THEN 0 ELSE failures END + :failed,
        failing_since = CASE WHEN :failed > 0 THEN coalesce(CASE WHEN NOT :took THEN failing_since END, now()) END
    WHERE id = :id AND version = :version AND hold = 'held'
    RETURNING failures, coalesce(failing_since <= now() - make_interval(days => {HOPELESS_DAYS}), false) AS is_hopeless
    """
)


async def note_outcomes(connection: AsyncConnection, lease: EndpointLease, *, took: bool, failed: int) -> Health | None:
    """How the receiver did: whether it `took` any, and how many `failed` since. None if the lease is lost."""
    values = {"id": lease.id, "version": lease.version, "took": took, "failed": failed}
    row = (await connection.execute(_NOTE, values)).one_or_none()
    return None if row is None else Health(row.failures, row.is_hopeless)


_DISABLE = text(
    """
    UPDATE webhook_endpoints SET disabled_at = now(), disabled_reason = :reason
    WHERE id = :id AND version = :version AND hold = 'held' AND disabled_at IS NULL
    """
)
FAIL_PENDING = text(
    """
    UPDATE deliveries SET state = 'failed', due_at = NULL, hold = 'idle', finished_at = now(), error = :error
    WHERE endpoint_id = :id AND state = 'pending'
    """
)


async def disable_endpoint(connection: AsyncConnection, lease: EndpointLease, *, reason: str) -> bool:
    """Nothing is sent there any more: `gone` or `failing`. Whether it was enabled until now."""
    values = {"id": lease.id, "version": lease.version, "reason": reason}
    return (await connection.execute(_DISABLE, values)).rowcount > 0


async def fail_pending(connection: AsyncConnection, endpoint_id: uuid.UUID) -> None:
    """What a disabled endpoint still has to be told is kept for a replay."""
    await connection.execute(FAIL_PENDING, {"id": endpoint_id, "error": "endpoint_disabled"})
