"""What people do to a batch while it runs: pause, resume, cancel. One transaction, opened by the caller.

Each begins with `hold_batch`, as a retry does, so two of them at once come one after the other.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class HeldBatch:
    """A batch that nobody else pauses, resumes, cancels, retries, settles or adds to until the commit."""

    account_id: uuid.UUID
    status: str
    is_finished: bool
    is_cancelled: bool
    paused_reason: str | None
    budget_usd: Decimal | None


# NO KEY UPDATE: jobs that end meanwhile write events, whose foreign key wants the batch's row to stay, no more.
_HOLD = text(
    """
    SELECT account_id, status, finished_at IS NOT NULL AS is_finished, cancelled_at IS NOT NULL AS is_cancelled,
           paused_reason, budget_usd
    FROM batches WHERE id = :id FOR NO KEY UPDATE
    """
)


def hold_batch(connection: Connection, batch_id: uuid.UUID) -> HeldBatch | None:
    row = connection.execute(_HOLD, {"id": batch_id}).mappings().one_or_none()
    return HeldBatch(**row) if row else None


_PAUSE = text("UPDATE batches SET paused_at = now(), paused_reason = :reason WHERE id = :id AND paused_at IS NULL")


def pause(connection: Connection, batch_id: uuid.UUID, *, reason: str) -> None:
    """Admission passes it over from now on; one that is paused keeps its reason."""
    connection.execute(_PAUSE, {"id": batch_id, "reason": reason})


_RESUME = text(
    """
    UPDATE batches SET paused_at = NULL, paused_reason = NULL, budget_usd = coalesce(:budget, batches.budget_usd),
           forgiven_ended = progress.succeeded + progress.failed + progress.rejected,
           forgiven_failed = progress.failed + progress.rejected
    FROM batch_progress AS progress WHERE batches.id = :id AND progress.batch_id = batches.id
    """
)


def resume(connection: Connection, batch_id: uuid.UUID, *, budget_usd: Decimal | None) -> None:
    """With that budget; None keeps the one it has. Failures are judged anew from here on."""
    connection.execute(_RESUME, {"id": batch_id, "budget": budget_usd})


_LIMIT = text(
    """
    UPDATE batches SET budget_usd = coalesce(:budget, budget_usd), deadline = coalesce(:deadline, deadline),
           admission_window = coalesce(:window, admission_window), max_failure_rate = coalesce(:rate, max_failure_rate)
    WHERE id = :id
    """
)


def limit(
    connection: Connection,
    batch_id: uuid.UUID,
    *,
    budget_usd: Decimal | None,
    window: str | None,
    deadline: datetime | None,
    max_failure_rate: float | None,
) -> None:
    """Put limits in place of those that it has; None of each keeps the one it has."""
    values = {"budget": budget_usd, "window": window, "deadline": deadline, "rate": max_failure_rate}
    connection.execute(_LIMIT, {"id": batch_id, **values})


@dataclass(frozen=True, slots=True)
class Money:
    """What a batch has used up of its budget, and the most that its next job can cost; None if none waits.

    What was done before costs nothing.
    """

    used_usd: Decimal
    next_usd: Decimal | None


# A band at a time, as the index of admission has them: the cost does not grow with the jobs that wait.
_MONEY = text(
    """
    SELECT spent_usd + reserved_usd AS used_usd,
           (SELECT CASE WHEN EXISTS (SELECT FROM jobs WHERE content_key = first.content_key AND state = 'succeeded'
                                       AND (NOT first.is_redo OR batch_id = :id))
                        THEN 0 ELSE first.estimate_usd END
            FROM unnest(ARRAY[0, 1, 2]) AS band CROSS JOIN LATERAL (
                SELECT estimate_usd, content_key, is_redo FROM jobs
                WHERE state = 'queued' AND priority = band AND lane_id = :id
                ORDER BY due_at, id LIMIT 1) AS first
            ORDER BY band LIMIT 1) AS next_usd
    FROM batch_progress WHERE batch_id = :id
    """
)


def read_money(connection: Connection, batch_id: uuid.UUID) -> Money:
    return Money(**connection.execute(_MONEY, {"id": batch_id}).mappings().one())


# A job that no call was made for can stop at once; what may have been charged is collected. SKIP LOCKED: a worker is
# claiming it, so it is too late, and waiting for each other's rows would be a deadlock.
_CANCEL_QUEUED = text(
    """
    UPDATE jobs SET state = 'cancelled', due_at = NULL, hold = 'idle', finished_at = now()
    WHERE state = 'queued' AND priority IN (0, 1, 2) AND lane_id = :id
    """
)
_CANCEL_UNCLAIMED = text(
    """
    UPDATE jobs SET state = 'cancelled', due_at = NULL, hold = 'idle', finished_at = now()
    WHERE id IN (SELECT id FROM jobs WHERE batch_id = :id AND state = 'submitting' AND requested_at IS NULL
                 AND hold <> 'held' FOR UPDATE SKIP LOCKED)
    """
)
_CANCEL = text(
    """
    UPDATE batches SET cancelled_at = coalesce(cancelled_at, now()), closes_at = least(closes_at, now()),
           paused_at = NULL, paused_reason = NULL
    WHERE id = :id AND finished_at IS NULL
    """
)
_IN_FLIGHT = text("SELECT submitting + running + storing FROM batch_progress WHERE batch_id = :id")


def cancel(connection: Connection, batch_id: uuid.UUID) -> int:
    """Cancel what has not been called; how many jobs that was."""
    statements = (_CANCEL, _CANCEL_QUEUED, _CANCEL_UNCLAIMED)
    _, *jobs = (connection.execute(statement, {"id": batch_id}).rowcount for statement in statements)
    return sum(jobs)


def count_in_flight(connection: Connection, batch_id: uuid.UUID) -> int:
    """Jobs that are, or may be, paid for and are still to be collected."""
    return int(connection.execute(_IN_FLIGHT, {"id": batch_id}).scalar_one())
