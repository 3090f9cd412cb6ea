"""Accounts and their API keys: who asks, and how much it may ask for. One transaction, opened by the caller."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from models.base import new_id
from models.states import Scope


@dataclass(frozen=True, slots=True)
class AccountRef:
    """An account and its limits. `s3_prefixes` is None where it may read and write whatever the credentials reach.

    Budgets in USD, of the days and months of `time_zone`; None: no limit.
    """

    id: uuid.UUID
    name: str
    requests_per_minute: int | None
    queue_limit: int | None
    s3_prefixes: tuple[str, ...] | None
    budget_day_usd: Decimal | None = None
    budget_month_usd: Decimal | None = None
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key that is not revoked, with its account."""

    id: uuid.UUID
    sha256: bytes
    scopes: frozenset[str]
    account: AccountRef


_ACCOUNT = """
    account.id, account.name, account.requests_per_minute, account.queue_limit, account.s3_prefixes,
    account.budget_day_usd, account.budget_month_usd, account.time_zone
"""


def _account(row: Any) -> AccountRef:
    prefixes = None if row.s3_prefixes is None else tuple(row.s3_prefixes)
    budgets = (row.budget_day_usd, row.budget_month_usd, row.time_zone)
    return AccountRef(row.id, row.name, row.requests_per_minute, row.queue_limit, prefixes, *budgets)


_FIND = text(f"SELECT {_ACCOUNT} FROM accounts AS account WHERE name = :name")
_READ = text(f"SELECT {_ACCOUNT} FROM accounts AS account WHERE id = :id")
_ALL = text(f"SELECT {_ACCOUNT} FROM accounts AS account ORDER BY name")


def read_account(connection: Connection, account_id: uuid.UUID) -> AccountRef | None:
    row = connection.execute(_READ, {"id": account_id}).one_or_none()
    return None if row is None else _account(row)


def find_account(connection: Connection, name: str) -> AccountRef | None:
    row = connection.execute(_FIND, {"name": name}).one_or_none()
    return None if row is None else _account(row)


def list_accounts(connection: Connection) -> list[AccountRef]:
    return [_account(row) for row in connection.execute(_ALL)]


_PUT = text(
    """
    INSERT INTO accounts (id, name, webhook_secret, requests_per_minute, queue_limit, s3_prefixes, budget_day_usd,
                          budget_month_usd, time_zone)
    VALUES (:id, :name, :secret, :requests_per_minute, :queue_limit, :s3_prefixes, :budget_day_usd, :budget_month_usd,
            :time_zone)
    ON CONFLICT (name) DO UPDATE SET requests_per_minute = excluded.requests_per_minute,
        queue_limit = excluded.queue_limit, s3_prefixes = excluded.s3_prefixes,
        budget_day_usd = excluded.budget_day_usd, budget_month_usd = excluded.budget_month_usd,
        time_zone = excluded.time_zone
    RETURNING id
    """
).bindparams(bindparam("s3_prefixes", type_=JSONB(none_as_null=True)))


def put_account(connection: Connection, account: AccountRef, *, webhook_secret: str) -> uuid.UUID:
    """Make it, or give the one of that name these limits (its id and secret stay); the id in force."""
    values = {
        "id": account.id,
        "name": account.name,
        "secret": webhook_secret,
        "requests_per_minute": account.requests_per_minute,
        "queue_limit": account.queue_limit,
        "s3_prefixes": None if account.s3_prefixes is None else list(account.s3_prefixes),
        "budget_day_usd": account.budget_day_usd,
        "budget_month_usd": account.budget_month_usd,
        "time_zone": account.time_zone,
    }
    return uuid.UUID(str(connection.execute(_PUT, values).scalar_one()))


_ZONE = text("SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = :name)")


def knows_time_zone(connection: Connection, name: str) -> bool:
    """Whether the database can tell an account's days in it; it has zones of its own, beside those of Python."""
    return bool(connection.execute(_ZONE, {"name": name}).scalar_one())


_INSERT_KEY = text(
    "INSERT INTO api_keys (id, account_id, name, prefix, sha256, scopes) "
    "VALUES (:id, :account_id, :name, :prefix, :sha256, :scopes)"
).bindparams(bindparam("scopes", type_=JSONB))


def insert_key(
    connection: Connection, account_id: uuid.UUID, *, name: str, prefix: str, sha256: bytes, scopes: Sequence[Scope]
) -> uuid.UUID:
    key_id = new_id()
    values = {"id": key_id, "account_id": account_id, "name": name, "prefix": prefix, "sha256": sha256}
    connection.execute(_INSERT_KEY, values | {"scopes": [scope.value for scope in scopes]})
    return key_id


_KEY = text(
    f"""
    SELECT key.id AS key_id, key.sha256, key.scopes, {_ACCOUNT}
    FROM api_keys AS key JOIN accounts AS account ON account.id = key.account_id
    WHERE key.prefix = :prefix AND key.revoked_at IS NULL
    """
)


def find_key(connection: Connection, prefix: str) -> StoredKey | None:
    row = connection.execute(_KEY, {"prefix": prefix}).one_or_none()
    return None if row is None else StoredKey(row.key_id, bytes(row.sha256), frozenset(row.scopes), _account(row))


_TOUCH = text(
    """
    UPDATE api_keys SET last_used_at = now()
    WHERE id = :id AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
    """
)


def touch_key(connection: Connection, key_id: uuid.UUID) -> None:
    """Remember the use, at most once a minute."""
    connection.execute(_TOUCH, {"id": key_id})


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as people list it."""

    id: uuid.UUID
    account: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


_LIST_KEYS = text(
    """
    SELECT key.id, account.name AS account, key.name, key.prefix, key.scopes, key.created_at, key.last_used_at,
           key.revoked_at
    FROM api_keys AS key JOIN accounts AS account ON account.id = key.account_id ORDER BY key.id
    """
)


def list_keys(connection: Connection) -> list[KeyRow]:
    """In the order of their making, revoked ones too."""
    return [KeyRow(**row) for row in connection.execute(_LIST_KEYS).mappings()]


_REVOKE = text("UPDATE api_keys SET revoked_at = now() WHERE prefix = :prefix AND revoked_at IS NULL")


def revoke_key(connection: Connection, prefix: str) -> bool:
    """From the next request on; whether there was such a key in force."""
    return connection.execute(_REVOKE, {"prefix": prefix}).rowcount > 0


# GCRA: each request moves the moment by 60 s / rate; it may run ahead of the clock by a minute at most, so a minute's
# worth may come at once.
_SPEND = text(
    """
    UPDATE accounts
    SET requests_used_until = greatest(requests_used_until, now()) + make_interval(secs => 60.0 / requests_per_minute)
    WHERE id = :id AND greatest(requests_used_until, now()) + make_interval(secs => 60.0 / requests_per_minute)
                       <= now() + interval '1 minute'
    """
)
_WAIT = text(
    """
    SELECT extract(epoch FROM requests_used_until - now() - interval '1 minute')::float8 + 60.0 / requests_per_minute
    FROM accounts WHERE id = :id
    """
)


def spend_request(connection: Connection, account: AccountRef) -> float | None:
    """Count one request against the account's rate; seconds to wait if it has none left, else None."""
    if account.requests_per_minute is None or connection.execute(_SPEND, {"id": account.id}).rowcount:
        return None
    return max(0.0, float(connection.execute(_WAIT, {"id": account.id}).scalar_one()))


_QUEUE_LOCK = 0x71756575  # first key of the advisory locks that let one submission at a time count
# Batches by their counts, lone jobs through the admission index: the cost does not grow with the jobs that wait.
_WAITING = text(
    """
    SELECT coalesce((SELECT sum(progress.queued) FROM batches AS batch
                     JOIN batch_progress AS progress ON progress.batch_id = batch.id
                     WHERE batch.account_id = :id AND batch.finished_at IS NULL), 0)
         + (SELECT count(*) FROM jobs WHERE state = 'queued' AND priority IN (0, 1, 2) AND lane_id = :id)
    """
)


def count_waiting(connection: Connection, account_id: uuid.UUID) -> int:
    return int(connection.execute(_WAITING, {"id": account_id}).scalar_one())


def lock_queue(connection: Connection, account: AccountRef) -> int | None:
    """How many more jobs the account may queue, held until the commit; None where nothing limits it."""
    if account.queue_limit is None:
        return None
    key = account.id.int & 0x7FFFFFFF
    connection.execute(text("SELECT pg_advisory_xact_lock(:a, :b)"), {"a": _QUEUE_LOCK, "b": key})
    return max(0, account.queue_limit - count_waiting(connection, account.id))
