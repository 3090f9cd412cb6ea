"""A spooled submission becomes the jobs of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from clients.phota_requests import Problem
from models import inserts
from models.inserts import BatchRef, LeftOut
from producer.manifests.spool import Spool
from producer.ownership import Owner, Room


@dataclass(frozen=True, slots=True)
class Queued:
    """Numbers of jobs: `accepted` now, `existing` already by their idempotency key.

    `skipped`: of the accepted ones those that were done before, which wait for nothing.
    """

    accepted: int
    existing: int
    skipped: int = 0


def queue_spooled(connection: Connection, spool: Spool, batch: BatchRef, owner: Owner, room: Room) -> Queued:
    """Queue every job of the spool in a batch that is new.

    A custom_id that an earlier job of the batch has is a fault of the spool. Raise QueueFull.
    """
    output = owner.default_output(in_batch=True)
    accepted = existing = skipped = 0
    for bite in spool.bites():
        new = inserts.insert_ready(connection, batch, bite.rows, output=output)
        accepted += sum(new)
        skipped += new.skipped
        room.take(new.queued)
        if sum(new) < bite.jobs:
            existing += _sort_out(spool, inserts.left_out(connection, batch, bite.rows))
    return Queued(accepted, existing, skipped)


def _sort_out(spool: Spool, rows: Sequence[LeftOut]) -> int:
    """How many are there by their idempotency key; the others are faults."""
    earlier = f"an earlier {'line' if spool.place == 'line' else 'job'}"
    for row in rows:
        if not row.is_known:
            text = f"custom_id: {row.custom_id!r} is that of {earlier} too"
            spool.refuse_late(row.number, Problem("custom_id", "duplicate_custom_id", text))
    return sum(row.is_known for row in rows)
