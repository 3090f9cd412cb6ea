"""What was done before, told by content. One transaction, opened by the caller."""

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from models.inserts import BatchRef

_DONE = text("SELECT DISTINCT content_key FROM jobs WHERE content_key = ANY(:keys) AND state = 'succeeded'")


def done_keys(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Those of the content keys that a job has succeeded with."""
    return set(connection.execute(_DONE, {"keys": list(keys)}).scalars())


# Parameters are those of the job that did it: the picture need not be looked at or uploaded again.
_SKIP = text(
    """
    INSERT INTO jobs (id, account_id, batch_id, custom_id, operation, params, output, source, content_key, same_as,
                      priority, client_request_id, estimate_usd, state, due_at, finished_at)
    SELECT j.id, :account, :batch, j.custom_id, done.operation, done.params, done.output,
           coalesce(done.source, '{}') || j.source, done.content_key,
           done.id, :priority, replace(j.id::text, '-', ''), 0, 'skipped', NULL, now()
    FROM jsonb_to_recordset(:rows) AS j (id uuid, custom_id text, source jsonb, content_key text)
    JOIN LATERAL (
        SELECT * FROM jobs WHERE content_key = j.content_key AND state = 'succeeded' ORDER BY id DESC LIMIT 1
    ) AS done ON true
    ON CONFLICT DO NOTHING
    RETURNING custom_id
    """
).bindparams(bindparam("rows", type_=JSONB))


def insert_skipped(connection: Connection, batch: BatchRef, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Add what was done before to a batch, linked to the earlier outputs; the custom_ids that went in.

    `rows`: `id`, `custom_id`, `source`, `content_key`. Left out is what was not done after all, or is there already.
    """
    shared = {"account": batch.account_id, "batch": batch.id, "priority": batch.priority}
    return set(connection.execute(_SKIP, {"rows": list(rows), **shared}).scalars())


_IN_BATCH = text(
    """
    SELECT custom_id, content_key FROM jobs
    WHERE batch_id = :batch AND custom_id = ANY(:custom_ids) AND superseded_at IS NULL
    """
)


def known_in_batch(connection: Connection, batch_id: uuid.UUID, custom_ids: Sequence[str]) -> dict[str, str | None]:
    """Content keys of the jobs that a batch has under these custom_ids."""
    rows = connection.execute(_IN_BATCH, {"batch": batch_id, "custom_ids": list(custom_ids)})
    return {row.custom_id: row.content_key for row in rows}


_UNFINISHED = text(
    """
    SELECT id FROM batches
    WHERE account_id = :account AND run_key = :run_key AND cancelled_at IS NULL
      AND (finished_at IS NULL OR :is_any) ORDER BY id DESC LIMIT 1
    """
)


def find_run(connection: Connection, account_id: uuid.UUID, run_key: str, *, is_any: bool = False) -> uuid.UUID | None:
    """The newest batch of that command that has not ended; `is_any`: or has."""
    wanted = {"account": account_id, "run_key": run_key, "is_any": is_any}
    return connection.execute(_UNFINISHED, wanted).scalar_one_or_none()


_REJOIN = text(
    "UPDATE batches SET closes_at = NULL WHERE id = :id AND finished_at IS NULL AND cancelled_at IS NULL RETURNING id"
)


def open_again(connection: Connection, batch_id: uuid.UUID) -> bool:
    """Let jobs join an unfinished batch again, until it is closed; False if it has ended."""
    return connection.execute(_REJOIN, {"id": batch_id}).one_or_none() is not None


_COUNT_DONE = text(
    """
    SELECT count(*) AS jobs, coalesce(sum(estimate_usd), 0) AS usd
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS j (content_key text, estimate_usd numeric)
    WHERE EXISTS (SELECT FROM jobs WHERE content_key = j.content_key AND state = 'succeeded')
    """
)


def count_done(connection: Connection, rows: str) -> tuple[int, Decimal]:
    """How many rows of `producer.manifests.spool`, a JSON array, were done before, and their estimates in USD."""
    row = connection.execute(_COUNT_DONE, {"rows": rows}).one()
    return row.jobs, row.usd
