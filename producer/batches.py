"""Batches: opened, joined by name, closed, cancelled."""

import re
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal

from sqlalchemy import Connection

from models import DEFAULT_ACCOUNT, Priority, inserts, new_id
from models.dispatch import notify
from models.inserts import BatchRef

LINGER_S = 60.0  # a batch joined by name closes when nothing has joined it for so long


def open_batch(
    connection: Connection,
    name: str,
    *,
    account_id: uuid.UUID = DEFAULT_ACCOUNT,
    priority: Priority = Priority.NORMAL,
    budget_usd: Decimal | None = None,
    webhook_url: str | None = None,
    webhook_events: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> BatchRef:
    """A new batch; jobs join it until `close_batch`. Names may repeat, ids and slugs do not.

    Raise ValueError for a budget that is none.
    """
    if budget_usd is not None and not (budget_usd.is_finite() and 0 <= budget_usd < 100_000_000):
        raise ValueError(f"budget_usd must be between 0 and 99,999,999, not {budget_usd}")
    batch_id = new_id()
    return inserts.insert_batch(
        connection,
        batch_id=batch_id,
        account_id=account_id,
        name=name,
        slug=_slug(name, batch_id),
        priority=priority,
        budget_usd=budget_usd,
        webhook_url=webhook_url,
        webhook_events=webhook_events,
        metadata=metadata or {},
    )


def join_batch(connection: Connection, name: str, *, account_id: uuid.UUID = DEFAULT_ACCOUNT) -> BatchRef:
    """The batch that was opened so under that name and lingers for more, else a new one.

    It closes by itself once nothing has joined it for `LINGER_S`.
    """
    batch = inserts.lock_joinable_batch(connection, account_id, name)
    if batch is None:
        batch = open_batch(connection, name, account_id=account_id)
    inserts.close_batch(connection, batch.id, after_s=LINGER_S)
    return batch


def close_batch(connection: Connection, batch: BatchRef) -> None:
    """Nothing joins any more: it may finish. Safe to repeat."""
    inserts.close_batch(connection, batch.id)
    notify(connection)


def cancel_batch(connection: Connection, batch_id: uuid.UUID) -> bool:
    """Cancel every job that Phota was not called for; the others are collected. False: it had finished already."""
    was_running = inserts.cancel_batch(connection, batch_id)
    notify(connection)
    return was_running


def _slug(name: str, batch_id: uuid.UUID) -> str:
    """Fit for a key and a URL; the random end of the id makes it unique."""
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "batch"
    return f"{words}-{batch_id.hex[-8:]}"
