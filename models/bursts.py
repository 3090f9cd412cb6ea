"""Bursts: what comes together from one source is one batch, until it was quiet for a while or is full.

One transaction, opened by the caller, which begins with `lock_source`. `metadata` of a burst names its source. Moments
are those of the clock, not of the transaction's beginning: it may have waited for the lock.
"""

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, text

_SOURCE_LOCK = 0x62757273  # first key of the advisory locks that let one transaction at a time add to a source's burst


def lock_source(connection: Connection, source_id: uuid.UUID) -> None:
    """Until the commit nobody else queues what this trigger or folder brings, or changes it."""
    key = source_id.int & 0x7FFFFFFF
    connection.execute(text("SELECT pg_advisory_xact_lock(:a, :b)"), {"a": _SOURCE_LOCK, "b": key})


@dataclass(frozen=True, slots=True)
class OpenBurst:
    batch_id: uuid.UUID
    jobs: int


# NO KEY: an event that is being written locks the key of its batch, and does no harm here.
_OPEN = text(
    """
    SELECT batches.id AS batch_id, progress.total AS jobs
    FROM batches JOIN batch_progress AS progress ON progress.batch_id = batches.id
    WHERE batches.account_id = :account AND batches.name = :name AND batches.metadata ->> 'source_id' = :source
      AND batches.closes_at > clock_timestamp() AND batches.finished_at IS NULL AND batches.cancelled_at IS NULL
    ORDER BY batches.created_at DESC LIMIT 1 FOR NO KEY UPDATE OF batches
    """
)


def lock_open_burst(connection: Connection, account_id: uuid.UUID, name: str, source_id: uuid.UUID) -> OpenBurst | None:
    """The one that still lingers for more; it cannot end until the commit."""
    wanted = {"account": account_id, "name": name, "source": str(source_id)}
    row = connection.execute(_OPEN, wanted).mappings().one_or_none()
    return OpenBurst(**row) if row else None


_LINGER = text(
    """
    UPDATE batches SET closes_at = greatest(closes_at, clock_timestamp() + make_interval(secs => :quiet)) WHERE id = :id
    """
)
_FILL = text("UPDATE batches SET closes_at = clock_timestamp() WHERE id = :id")
_CLOSE_ALL = text(
    """
    UPDATE batches SET closes_at = clock_timestamp()
    WHERE account_id = :account AND name = :name AND metadata ->> 'source_id' = :source
      AND closes_at > clock_timestamp() AND finished_at IS NULL
    """
)


def linger(connection: Connection, batch_id: uuid.UUID, *, quiet_s: float) -> None:
    """More may join until nothing has for so long."""
    connection.execute(_LINGER, {"id": batch_id, "quiet": quiet_s})


def close_full(connection: Connection, batch_id: uuid.UUID) -> None:
    """No more joins it."""
    connection.execute(_FILL, {"id": batch_id})


def close_bursts(connection: Connection, account_id: uuid.UUID, name: str, source_id: uuid.UUID) -> None:
    """What comes next is another burst, with other limits."""
    connection.execute(_CLOSE_ALL, {"account": account_id, "name": name, "source": str(source_id)})


@dataclass(frozen=True, slots=True)
class BurstState:
    """`slug`: as people call it. `is_finished`: no job of it changes any more."""

    batch_id: uuid.UUID
    slug: str
    is_finished: bool


# Those that are done with were remembered as seen, by a source of its own.
_LEFT = text(
    """
    SELECT id AS batch_id, slug, finished_at IS NOT NULL AS is_finished FROM batches
    WHERE account_id = :account AND name = :name AND metadata ->> 'source_id' = :source
      AND NOT EXISTS (SELECT FROM seen_objects WHERE source_id = :done AND key = batches.id::text)
    ORDER BY id
    """
)


def bursts_left(
    connection: Connection, account_id: uuid.UUID, name: str, source_id: uuid.UUID, *, done: uuid.UUID
) -> list[BurstState]:
    """Bursts of a source, the oldest first, without those whose ids `done` has seen."""
    wanted = {"account": account_id, "name": name, "source": str(source_id), "done": done}
    return [BurstState(**row) for row in connection.execute(_LEFT, wanted).mappings()]
