"""How jobs and batches come into being. One transaction, opened by the caller."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

_BATCH_LOCK = 0x70686F74  # first key of the advisory locks that serialise "find or open by name"


@dataclass(frozen=True, slots=True)
class BatchRef:
    """What a producer needs to know of a batch to add jobs to it."""

    id: uuid.UUID
    account_id: uuid.UUID
    name: str
    slug: str
    priority: int
    is_open: bool  # jobs may still join


# The newest job that did the same; its outputs are those of the new one. A redo counts only what its own batch did.
_DONE = """
    LEFT JOIN LATERAL (
        SELECT id FROM jobs WHERE content_key = j.content_key AND state = 'succeeded'
          AND (NOT coalesce(j.is_redo, false) OR batch_id = {batch_id}) AND {is_wanted}
        ORDER BY id DESC LIMIT 1
    ) AS done ON true
"""

_INSERT = text(
    f"""
    INSERT INTO jobs (id, account_id, batch_id, custom_id, idempotency_key, operation, params, output, source,
                      content_key, is_redo, same_as, priority, webhook_url, metadata, client_request_id, estimate_usd,
                      expires_at, state, due_at, error_code, error_message, finished_at)
    SELECT j.id, account_id, j.batch_id, custom_id, idempotency_key, operation, params, output, source,
           j.content_key, coalesce(j.is_redo, false), done.id, priority, webhook_url, metadata, client_request_id,
           CASE WHEN done.id IS NULL THEN estimate_usd ELSE 0 END, expires_at,
           CASE WHEN done.id IS NULL THEN j.state ELSE 'skipped' END,
           CASE WHEN j.state = 'queued' AND done.id IS NULL THEN coalesce(not_before, now()) END,
           error_code, error_message, CASE WHEN j.state <> 'queued' OR done.id IS NOT NULL THEN now() END
    FROM jsonb_to_recordset(:jobs) AS j (
        id uuid, account_id uuid, batch_id uuid, custom_id text, idempotency_key text, operation text, params jsonb,
        output text, source jsonb, content_key text, is_redo boolean, priority int, webhook_url text, metadata jsonb,
        client_request_id text, estimate_usd numeric, expires_at timestamptz, not_before timestamptz, state text,
        error_code text, error_message text)
    {_DONE.format(batch_id="j.batch_id", is_wanted="j.state = 'queued'")}
    ON CONFLICT DO NOTHING
    RETURNING id, state
    """
).bindparams(bindparam("jobs", type_=JSONB))


def insert_jobs(connection: Connection, jobs: Sequence[Mapping[str, Any]]) -> dict[uuid.UUID, str]:
    """Insert rows of plain JSON values; id and state of those whose custom_id and idempotency_key were new."""
    return {row.id: row.state for row in connection.execute(_INSERT, {"jobs": list(jobs)})}


_EXISTING = text(
    """
    SELECT wanted.id AS wanted_id, job.id, job.state
    FROM jsonb_to_recordset(:jobs) AS wanted (
        id uuid, account_id uuid, batch_id uuid, custom_id text, idempotency_key text)
    JOIN jobs AS job ON (job.batch_id = wanted.batch_id AND job.custom_id = wanted.custom_id)
                     OR (job.account_id = wanted.account_id AND job.idempotency_key = wanted.idempotency_key)
    WHERE job.superseded_at IS NULL
    """
).bindparams(bindparam("jobs", type_=JSONB))


def existing_jobs(connection: Connection, jobs: Sequence[Mapping[str, Any]]) -> dict[uuid.UUID, tuple[uuid.UUID, str]]:
    """For rows that were not inserted: the id and state of the job that is there already, by the id wanted."""
    rows = connection.execute(_EXISTING, {"jobs": list(jobs)})
    return {row.wanted_id: (row.id, row.state) for row in rows}


# Rows of one batch as text that is passed on as it is; what they all share is bound once.
_INSERT_READY = text(
    f"""
    INSERT INTO jobs (id, account_id, batch_id, custom_id, idempotency_key, operation, params, output, content_key,
                      is_redo, same_as, priority, webhook_url, metadata, client_request_id, estimate_usd, expires_at,
                      state, due_at, finished_at)
    SELECT j.id, :account_id, :batch_id, custom_id, idempotency_key, operation, params, coalesce(output, :output),
           j.content_key, coalesce(j.is_redo, false), done.id, coalesce(priority, :priority), webhook_url,
           coalesce(metadata, '{{}}'), replace(j.id::text, '-', ''),
           CASE WHEN done.id IS NULL THEN estimate_usd ELSE 0 END, expires_at,
           CASE WHEN done.id IS NULL THEN 'queued' ELSE 'skipped' END,
           CASE WHEN done.id IS NULL THEN coalesce(not_before, now()) END, CASE WHEN done.id IS NOT NULL THEN now() END
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS j (
        id uuid, custom_id text, idempotency_key text, operation text, params jsonb, output text, content_key text,
        is_redo boolean, priority int, webhook_url text, metadata jsonb, estimate_usd numeric, expires_at timestamptz,
        not_before timestamptz)
    {_DONE.format(batch_id=":batch_id", is_wanted="true")}
    ON CONFLICT DO NOTHING
    RETURNING state
    """
)
_COUNT_READY = text(
    f"""
    WITH inserted AS ({_INSERT_READY.text})
    SELECT count(*) FILTER (WHERE state = 'queued') AS queued, count(*) FILTER (WHERE state = 'skipped') AS skipped
    FROM inserted
    """
)


class Inserted(NamedTuple):
    """Numbers of rows that were new: those that wait now, and those that were done before."""

    queued: int
    skipped: int


def insert_ready(connection: Connection, batch: BatchRef, rows: str, *, output: str) -> Inserted:
    """Queue rows of `producer.manifests.spool`, a JSON array, in a batch.

    `output`: where those go that name none.
    """
    shared = {"account_id": batch.account_id, "batch_id": batch.id, "priority": batch.priority, "output": output}
    return Inserted(*connection.execute(_COUNT_READY, {"rows": rows, **shared}).one())


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that did not go in: its job is there by idempotency key (`is_known`), or its custom_id is taken."""

    number: int
    custom_id: str | None
    is_known: bool


_LEFT_OUT = text(
    """
    SELECT wanted.number, wanted.custom_id, known.id IS NOT NULL AS is_known
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (
        id uuid, number bigint, custom_id text, idempotency_key text)
    LEFT JOIN jobs AS known ON known.account_id = :account_id AND known.idempotency_key = wanted.idempotency_key
    WHERE NOT EXISTS (SELECT FROM jobs WHERE jobs.id = wanted.id)
    ORDER BY wanted.number
    """
)


def left_out(connection: Connection, batch: BatchRef, rows: str) -> list[LeftOut]:
    """Of the rows of one `insert_ready`, in their order."""
    found = connection.execute(_LEFT_OUT, {"rows": rows, "account_id": batch.account_id})
    return [LeftOut(row.number, row.custom_id, row.is_known) for row in found]


_REF = "id, account_id, name, slug, priority, closes_at IS NULL OR closes_at > now() AS is_open"

_FIELDS = (
    "id",
    "account_id",
    "name",
    "slug",
    "priority",
    "budget_usd",
    "admission_window",
    "deadline",
    "max_failure_rate",
    "run_key",
    "schedule_id",
    "webhook_url",
    "webhook_events",
    "webhook_digest",
    "metadata",
)
_OPEN = text(f"INSERT INTO batches ({', '.join(_FIELDS)}) VALUES (:{', :'.join(_FIELDS)}) RETURNING {_REF}").bindparams(
    bindparam("webhook_events", type_=JSONB), bindparam("metadata", type_=JSONB)
)


def insert_batch(connection: Connection, fields: Mapping[str, Any]) -> BatchRef:
    """With every field of `models.batch.Batch` that its maker says."""
    return BatchRef(**connection.execute(_OPEN, fields).mappings().one())


_GET = text(f"SELECT {_REF} FROM batches WHERE id = :id")
_LOCK = text(f"SELECT {_REF} FROM batches WHERE id = :id FOR SHARE")


def get_batch(connection: Connection, batch_id: uuid.UUID) -> BatchRef | None:
    row = connection.execute(_GET, {"id": batch_id}).mappings().one_or_none()
    return BatchRef(**row) if row else None


def lock_batch(connection: Connection, batch_id: uuid.UUID) -> BatchRef | None:
    """As `get_batch`, and until the commit nobody closes, cancels or settles it."""
    row = connection.execute(_LOCK, {"id": batch_id}).mappings().one_or_none()
    return BatchRef(**row) if row else None


_JOIN = text(
    f"""
    SELECT {_REF} FROM batches
    WHERE account_id = :account_id AND name = :name AND closes_at > now()
      AND finished_at IS NULL AND cancelled_at IS NULL
    ORDER BY created_at DESC LIMIT 1 FOR UPDATE
    """
)


def lock_joinable_batch(connection: Connection, account_id: uuid.UUID, name: str) -> BatchRef | None:
    """The batch of that name that still lingers for more. Locked, so that it cannot be settled while a job joins it."""
    key = uuid.uuid5(account_id, name).int & 0x7FFFFFFF
    connection.execute(text("SELECT pg_advisory_xact_lock(:a, :b)"), {"a": _BATCH_LOCK, "b": key})
    row = connection.execute(_JOIN, {"account_id": account_id, "name": name}).mappings().one_or_none()
    return BatchRef(**row) if row else None


_CLOSE = text(
    """
    UPDATE batches SET closes_at = now() + make_interval(secs => :after)
    WHERE id = :id AND finished_at IS NULL AND (closes_at IS NULL OR :after > 0)
    """
)


def close_batch(connection: Connection, batch_id: uuid.UUID, *, after_s: float = 0.0) -> None:
    """No job joins any more, or none after so many seconds without another."""
    connection.execute(_CLOSE, {"id": batch_id, "after": after_s})
