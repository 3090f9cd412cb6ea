"""Triggers: defined by people, matched with uploads, and repaired in turn, dispatched and leased the way jobs are.

One transaction, opened by the caller.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from models.base import new_id

LEASE_S = 60.0  # a killed worker's repair begins anew within this and a tick
RESEND_S = 60.0  # a message that nobody has taken by then is sent again
# Advisory lock held while one is defined: a loop could be made of two at once.
_LOCK_SCOPE, _DEFINITIONS_LOCK = 0x74726967, 0


@dataclass(frozen=True, slots=True)
class TriggerRow:
    """`recipe` as `Recipe.as_json` has it; `output` a template or None for the usual place. Times in seconds."""

    id: uuid.UUID
    account_id: uuid.UUID
    account: str
    name: str
    bucket: str
    prefix: str
    suffix: str
    recipe: dict[str, Any]
    output: str | None
    priority: int
    quiet_s: float
    most: int
    budget_usd: Decimal | None
    webhook_url: str | None
    since: datetime
    repair_s: float
    repaired_at: datetime | None
    created_at: datetime


_COLUMNS = """
    trigger.id, trigger.account_id, account.name AS account, trigger.name, trigger.bucket, trigger.prefix,
    trigger.suffix, trigger.recipe, trigger.output, trigger.priority, trigger.quiet_s, trigger.most,
    trigger.budget_usd, trigger.webhook_url, trigger.since, trigger.repair_s, trigger.repaired_at, trigger.created_at
"""
_LIVE = f"""
    SELECT {_COLUMNS} FROM triggers AS trigger JOIN accounts AS account ON account.id = trigger.account_id
    WHERE trigger.removed_at IS NULL
"""
_READ = text(f"{_LIVE} AND trigger.id = :id")
_FIND = text(f"{_LIVE} AND trigger.account_id = :account AND trigger.name = :name")
_ALL = text(f"{_LIVE} ORDER BY trigger.id")
_ON_BUCKETS = text(f"{_LIVE} AND trigger.account_id = :account AND trigger.bucket = ANY(:buckets) ORDER BY trigger.id")


def read_trigger(connection: Connection, trigger_id: uuid.UUID) -> TriggerRow | None:
    """None for one that was removed, as everywhere here."""
    row = connection.execute(_READ, {"id": trigger_id}).mappings().one_or_none()
    return TriggerRow(**row) if row else None


def find_trigger(connection: Connection, account_id: uuid.UUID, name: str) -> TriggerRow | None:
    row = connection.execute(_FIND, {"account": account_id, "name": name}).mappings().one_or_none()
    return TriggerRow(**row) if row else None


def all_triggers(connection: Connection) -> list[TriggerRow]:
    """Of every account: their outputs may meet."""
    return [TriggerRow(**row) for row in connection.execute(_ALL).mappings()]


def triggers_on(connection: Connection, account_id: uuid.UUID, buckets: Sequence[str]) -> list[TriggerRow]:
    """Those of an account that look into any of these buckets."""
    rows = connection.execute(_ON_BUCKETS, {"account": account_id, "buckets": list(buckets)})
    return [TriggerRow(**row) for row in rows.mappings()]


def lock_definitions(connection: Connection) -> None:
    """Until the commit nobody else adds, replaces or removes a trigger."""
    locks = {"a": _LOCK_SCOPE, "b": _DEFINITIONS_LOCK}
    connection.execute(text("SELECT pg_advisory_xact_lock(:a, :b)"), locks)


_SETTINGS = ("recipe", "output", "priority", "quiet_s", "most", "budget_usd", "webhook_url", "repair_s")
_INSERT = text(
    f"""
    INSERT INTO triggers (id, account_id, name, bucket, prefix, suffix, since, {", ".join(_SETTINGS)})
    VALUES (:id, :account_id, :name, :bucket, :prefix, :suffix, coalesce(:since, now()),
            :{", :".join(_SETTINGS)})
    """
).bindparams(bindparam("recipe", type_=JSONB))
_UPDATE = text(
    f"""
    UPDATE triggers SET {", ".join(f"{name} = :{name}" for name in _SETTINGS)}, due_at = least(due_at, now())
    WHERE id = :id AND removed_at IS NULL
    """
).bindparams(bindparam("recipe", type_=JSONB))


def insert_trigger(connection: Connection, fields: Mapping[str, Any]) -> uuid.UUID:
    """With every field but those of its repair; `since` None: from now on. Its first listing is due at once."""
    trigger_id = new_id()
    connection.execute(_INSERT, {**fields, "id": trigger_id})
    return trigger_id


def update_trigger(connection: Connection, trigger_id: uuid.UUID, fields: Mapping[str, Any]) -> None:
    """All but its name and what it looks at; what it has seen stays seen."""
    connection.execute(_UPDATE, {**{name: fields[name] for name in _SETTINGS}, "id": trigger_id})


_REMOVE = text("UPDATE triggers SET removed_at = now(), due_at = NULL, hold = 'idle' WHERE id = :id")
_FORGET = text("DELETE FROM seen_objects WHERE source_id = :id")


def remove_trigger(connection: Connection, trigger_id: uuid.UUID) -> None:
    """It looks at nothing any more, and what it has seen is forgotten. The caller holds it (models/bursts.py)."""
    connection.execute(_REMOVE, {"id": trigger_id})
    connection.execute(_FORGET, {"id": trigger_id})


@dataclass(frozen=True, slots=True)
class TriggerMade:
    """What came of a trigger so far: bursts, jobs by how they ended, and money in USD."""

    bursts: int
    jobs: int
    done: int
    failed: int
    spent_usd: Decimal


_MADE = text(
    """
    SELECT count(*) AS bursts, coalesce(sum(progress.total), 0)::bigint AS jobs,
           coalesce(sum(progress.succeeded + progress.skipped), 0)::bigint AS done,
           coalesce(sum(progress.failed + progress.rejected + progress.expired), 0)::bigint AS failed,
           coalesce(sum(progress.spent_usd), 0) AS spent_usd
    FROM batches AS batch JOIN batch_progress AS progress ON progress.batch_id = batch.id
    WHERE batch.account_id = :account AND batch.metadata ->> 'source_id' = :id
    """
)


def made_by(connection: Connection, trigger: TriggerRow) -> TriggerMade:
    row = connection.execute(_MADE, {"account": trigger.account_id, "id": str(trigger.id)}).mappings().one()
    return TriggerMade(**row)


_DUE = text(
    """
    UPDATE triggers SET hold = 'sent', due_at = now() + make_interval(secs => :resend)
    WHERE id IN (SELECT id FROM triggers WHERE due_at <= now()
                 ORDER BY due_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING id
    """
)
_UNSENT = text(
    """
    UPDATE triggers SET hold = 'idle', due_at = now() + make_interval(secs => 1)
    WHERE id = ANY(:ids) AND hold = 'sent' AND removed_at IS NULL
    """
)


def take_due_triggers(connection: Connection, *, limit: int) -> list[uuid.UUID]:
    """Those whose next listing is due, whoever held them: marked as sent."""
    return list(connection.execute(_DUE, {"resend": RESEND_S, "limit": limit}).scalars())


def unsend_triggers(connection: Connection, ids: Sequence[uuid.UUID]) -> None:
    """The broker did not take the message: due again in a second."""
    connection.execute(_UNSENT, {"ids": list(ids)})


@dataclass(frozen=True, slots=True)
class RepairLease:
    """A trigger in hand, and the fence of every write for its repair."""

    trigger_id: uuid.UUID
    version: int


_CLAIM = text(
    """
    UPDATE triggers SET hold = 'held', version = version + 1, due_at = now() + make_interval(secs => :lease)
    WHERE id = ANY(:ids) AND hold = 'sent' AND removed_at IS NULL
    RETURNING id AS trigger_id, version
    """
)
_KEEP = text(
    """
    UPDATE triggers SET due_at = now() + make_interval(secs => :lease)
    WHERE id = :trigger_id AND version = :version AND hold = 'held' AND removed_at IS NULL
    """
)
_RELEASE = text(
    """
    UPDATE triggers SET hold = 'idle',
           due_at = now() + make_interval(secs => least(repair_s, coalesce(:again, repair_s))),
           repaired_at = CASE WHEN :is_done THEN now() ELSE repaired_at END
    WHERE id = :trigger_id AND version = :version AND hold = 'held' AND removed_at IS NULL
    """
)


def claim_repairs(connection: Connection, ids: Sequence[uuid.UUID]) -> list[RepairLease]:
    """Take those of `ids` that wait for it; the others are somebody else's, or gone."""
    rows = connection.execute(_CLAIM, {"ids": list(ids), "lease": LEASE_S}).mappings()
    return [RepairLease(**row) for row in rows]


def keep_repair(connection: Connection, lease: RepairLease) -> bool:
    """Heartbeat; whether it is still in the caller's hands."""
    held = {"trigger_id": lease.trigger_id, "version": lease.version, "lease": LEASE_S}
    return connection.execute(_KEEP, held).rowcount > 0


def release_repair(connection: Connection, lease: RepairLease, *, is_done: bool, again_s: float | None = None) -> None:
    """The next listing is due after the trigger's own time, or in `again_s` seconds where that is sooner."""
    held = {"trigger_id": lease.trigger_id, "version": lease.version}
    connection.execute(_RELEASE, {**held, "is_done": is_done, "again": again_s})
