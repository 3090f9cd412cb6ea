"""Webhook endpoints as people administer them. One transaction, opened by the caller; every verb names the account.

How deliveries move is in endpoint_leases.py and outbox.py.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from models.base import new_id
from models.endpoint_leases import FAIL_PENDING
from models.moments import written


@dataclass(frozen=True, slots=True)
class EndpointView:
    """An endpoint as people list it; never its secret."""

    id: uuid.UUID
    url: str
    is_registered: bool
    events: list[str]
    is_digest: bool
    failures: int
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    old_secret_until: datetime | None  # two secrets sign until then
    created_at: datetime
    pending: int
    last_delivered_at: datetime | None

    @property
    def state(self) -> str:
        """ok, failing or disabled."""
        if self.disabled_at is not None:
            return "disabled"
        return "failing" if self.failing_since is not None else "ok"

    def as_json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "url": self.url,
            "registered": self.is_registered,
            "events": self.events,
            "digest": self.is_digest,
            "state": self.state,
            "failures": self.failures,
            "failing_since": written(self.failing_since),
            "disabled_at": written(self.disabled_at),
            "disabled_reason": self.disabled_reason,
            "old_secret_until": written(self.old_secret_until),
            "pending": self.pending,
            "last_delivered_at": written(self.last_delivered_at),
            "created_at": written(self.created_at),
        }


_VIEW = """
    SELECT endpoint.id, url, is_registered, events, is_digest, failures, failing_since, disabled_at, disabled_reason,
           CASE WHEN old_secret_until > now() THEN old_secret_until END AS old_secret_until, created_at,
           (SELECT count(*) FROM deliveries WHERE endpoint_id = endpoint.id AND state = 'pending') AS pending,
           (SELECT finished_at FROM deliveries WHERE endpoint_id = endpoint.id AND state = 'delivered'
            ORDER BY seq DESC LIMIT 1) AS last_delivered_at
    FROM webhook_endpoints AS endpoint
"""
_LIST = text(
    _VIEW
    + """
    WHERE account_id = :account AND (:all OR is_registered OR failing_since IS NOT NULL OR disabled_at IS NOT NULL)
    ORDER BY created_at, id
    """
)
_GET = text(_VIEW + " WHERE endpoint.id = :id")
_FIND = text(
    """
    SELECT id FROM webhook_endpoints
    WHERE account_id = :account AND (url = :word OR left(id::text, length(:word)) = lower(:word)) LIMIT 2
    """
)


def list_endpoints(connection: Connection, account_id: uuid.UUID, *, everything: bool = False) -> list[EndpointView]:
    """The registered, the failing and the disabled ones; with `everything` each URL that a batch or job ever named."""
    rows = connection.execute(_LIST, {"account": account_id, "all": everything}).mappings()
    return [EndpointView(**row) for row in rows]


def find_endpoints(connection: Connection, account_id: uuid.UUID, word: str) -> list[EndpointView]:
    """Those of that URL, or whose id begins so; two at most, which means that `word` is not enough."""
    ids = connection.execute(_FIND, {"account": account_id, "word": word}).scalars().all()
    return [EndpointView(**connection.execute(_GET, {"id": each}).mappings().one()) for each in ids]


# The secret of its own that an endpoint gets follows the account's, which goes on signing for a while: a batch may have
# named the URL before.
@dataclass(frozen=True, slots=True)
class Put:
    """An endpoint as it is in force; it keeps the `secret` that it had."""

    id: uuid.UUID
    secret: str = field(repr=False)
    events: list[str]
    is_digest: bool


_PUT = text(
    """
    INSERT INTO webhook_endpoints AS endpoint (id, account_id, url, is_registered, events, is_digest, secret)
    VALUES (:id, :account, :url, true, coalesce(:events, :usual), coalesce(:is_digest, false), :secret)
    ON CONFLICT (account_id, url) DO UPDATE SET
        is_registered = true,
        events = coalesce(:events, CASE WHEN endpoint.is_registered THEN endpoint.events END, :usual),
        is_digest = coalesce(:is_digest, endpoint.is_digest),
        old_secret = CASE WHEN endpoint.secret IS NULL
                          THEN (SELECT webhook_secret FROM accounts WHERE id = :account) ELSE endpoint.old_secret END,
        old_secret_until = CASE WHEN endpoint.secret IS NULL
                                THEN now() + make_interval(secs => :overlap) ELSE endpoint.old_secret_until END,
        secret = coalesce(endpoint.secret, excluded.secret),
        disabled_at = NULL, disabled_reason = NULL, failures = 0, failing_since = NULL
    RETURNING id, secret, events, is_digest
    """
).bindparams(
    bindparam("events", type_=JSONB(none_as_null=True)),
    bindparam("usual", type_=JSONB),
    bindparam("is_digest", type_=Boolean),
)


def put_endpoint(
    connection: Connection,
    account_id: uuid.UUID,
    *,
    url: str,
    events: Sequence[str] | None,
    usual: Sequence[str],
    is_digest: bool | None,
    secret: str,
    overlap_s: float,
) -> Put:
    """Register a URL, or change and enable the one there is. What is None stays; `usual`: the events of a new one."""
    wanted = {"events": None if events is None else list(events), "usual": list(usual), "is_digest": is_digest}
    values = {"id": new_id(), "account": account_id, "url": url, "secret": secret, "overlap": overlap_s}
    return Put(**connection.execute(_PUT, values | wanted).mappings().one())


_ENABLE = text(
    """
    UPDATE webhook_endpoints SET disabled_at = NULL, disabled_reason = NULL, failures = 0, failing_since = NULL,
           due_at = CASE WHEN hold = 'idle' THEN now() ELSE due_at END
    WHERE id = :id AND account_id = :account
    """
)
_NOW_DUE = text(
    """
    UPDATE deliveries SET due_at = now()
    WHERE endpoint_id = :id AND state = 'pending' AND hold = 'idle' AND due_at > now()
    """
)
_NO_PAUSE = text("UPDATE webhook_endpoints SET due_at = now() WHERE id = :id AND hold = 'idle' AND due_at > now()")
_UNREGISTER = text(
    """
    UPDATE webhook_endpoints SET is_registered = false, events = '[]', is_digest = false, secret = NULL,
           old_secret = NULL, old_secret_until = NULL, failures = 0, failing_since = NULL
    WHERE id = :id AND account_id = :account
    """
)
_ROTATE = text(
    """
    UPDATE webhook_endpoints AS endpoint SET
        old_secret = coalesce(endpoint.secret, account.webhook_secret),
        old_secret_until = now() + make_interval(secs => :overlap), secret = :secret
    FROM accounts AS account
    WHERE endpoint.id = :id AND endpoint.account_id = :account AND account.id = :account
    """
)
_ROTATE_ACCOUNT = text(
    """
    UPDATE accounts SET old_webhook_secret = webhook_secret,
           old_webhook_secret_until = now() + make_interval(secs => :overlap), webhook_secret = :secret
    WHERE id = :account
    """
)


def try_now(connection: Connection, endpoint_id: uuid.UUID) -> int:
    """What waits for its next try is due now; how many that was."""
    connection.execute(_NO_PAUSE, {"id": endpoint_id})
    return connection.execute(_NOW_DUE, {"id": endpoint_id}).rowcount


def enable_endpoint(connection: Connection, account_id: uuid.UUID, endpoint_id: uuid.UUID) -> None:
    """Send there again, at once also what waits for its next try."""
    if connection.execute(_ENABLE, {"id": endpoint_id, "account": account_id}).rowcount:
        connection.execute(_NOW_DUE, {"id": endpoint_id})


def remove_endpoint(connection: Connection, account_id: uuid.UUID, endpoint_id: uuid.UUID) -> int:
    """Registered no more; how many pending deliveries were given up. The row stays, for history and batches."""
    if not connection.execute(_UNREGISTER, {"id": endpoint_id, "account": account_id}).rowcount:
        return 0
    return connection.execute(FAIL_PENDING, {"id": endpoint_id, "error": "endpoint_removed"}).rowcount


def rotate_secret(
    connection: Connection, account_id: uuid.UUID, endpoint_id: uuid.UUID | None, *, secret: str, overlap_s: float
) -> None:
    """A new secret of the endpoint, or of the account; for `overlap_s` seconds the one before signs too."""
    values = {"account": account_id, "secret": secret, "overlap": overlap_s}
    if endpoint_id is None:
        connection.execute(_ROTATE_ACCOUNT, values)
    else:
        connection.execute(_ROTATE, values | {"id": endpoint_id})


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """Of the whole installation. `oldest_pending_s`: age of the oldest event that is not delivered yet, 0 if none."""

    pending: int
    failed: int
    disabled_endpoints: int
    oldest_pending_s: float


_COUNTS = text(
    """
    SELECT pending.n AS pending, (SELECT count(*) FROM deliveries WHERE state = 'failed') AS failed,
           (SELECT count(*) FROM webhook_endpoints WHERE disabled_at IS NOT NULL) AS disabled_endpoints,
           coalesce(extract(epoch FROM now() - pending.oldest), 0)::float8 AS oldest_pending_s
    FROM (SELECT count(*) AS n, min(created_at) AS oldest FROM deliveries WHERE state = 'pending') AS pending
    """
)


def delivery_counts(connection: Connection) -> DeliveryCounts:
    """For metrics; its cost grows with what is pending and what has failed, not with what is delivered."""
    return DeliveryCounts(**connection.execute(_COUNTS).mappings().one())
