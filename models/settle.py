"""Batches come to their end: counts folded, outcomes written. Only the leading dispatcher runs these."""

import uuid
from collections.abc import Iterable

from sqlalchemy import Connection, text

from models.failures import IS_FAILING
from models.states import FINAL_STATES, JobState

_GOOD = "progress.succeeded + progress.skipped"
_FINAL = " + ".join(f"progress.{state}" for state in FINAL_STATES)
_UNFINAL = " + ".join(f"progress.{state}" for state in JobState if not state.is_final)

_FOLD = text(
    """
    WITH taken AS (
        DELETE FROM batch_deltas WHERE id IN (SELECT id FROM batch_deltas ORDER BY id LIMIT 10000) RETURNING *
    ), paced AS (
        INSERT INTO batch_minutes AS paced (batch_id, minute, jobs)
        SELECT batch_id, date_trunc('minute', now()), sum(jobs) FROM taken
        WHERE state IN ('succeeded', 'failed') AND EXISTS (SELECT FROM batches WHERE id = taken.batch_id)
        GROUP BY batch_id HAVING sum(jobs) > 0
        ON CONFLICT (batch_id, minute) DO UPDATE SET jobs = paced.jobs + excluded.jobs
    )
    INSERT INTO batch_counts AS counted (batch_id, state, jobs, estimate_usd, cost_usd)
    SELECT batch_id, state, sum(jobs), sum(estimate_usd), sum(cost_usd) FROM taken GROUP BY batch_id, state
    ON CONFLICT (batch_id, state) DO UPDATE SET
        jobs = counted.jobs + excluded.jobs, estimate_usd = counted.estimate_usd + excluded.estimate_usd,
        cost_usd = counted.cost_usd + excluded.cost_usd
    RETURNING batch_id
    """
)


def fold_counts(connection: Connection) -> set[uuid.UUID]:
    """Move deltas into counts; the batches that changed. A reader sees before or after, never between."""
    return set(connection.execute(_FOLD).scalars())


_UNFINISHED = text("SELECT id FROM batches WHERE finished_at IS NULL AND closes_at <= now()")


def closed_batches(connection: Connection) -> set[uuid.UUID]:
    """Unfinished batches that no job can join any more."""
    return set(connection.execute(_UNFINISHED).scalars())


# Nobody waits here for a producer's open transaction: a batch that is locked is looked at again when it changes.
_START = text(
    """
    UPDATE batches SET started_at = now() FROM batch_progress AS progress
    WHERE batches.id IN (SELECT id FROM batches WHERE id = ANY(:ids) AND started_at IS NULL FOR UPDATE SKIP LOCKED)
      AND progress.batch_id = batches.id
      AND progress.submitting + progress.running + progress.storing + progress.succeeded + progress.failed > 0
    """
)


def start(connection: Connection, batches: Iterable[uuid.UUID]) -> None:
    """Those whose first job was admitted have started; a trigger writes the event."""
    connection.execute(_START, {"ids": list(batches)})


_PAUSE_FAILING = text(
    f"""
    UPDATE batches AS batch SET paused_at = now(), paused_reason = 'failure_rate' FROM batch_progress AS progress
    WHERE batch.id IN (SELECT id FROM batches WHERE id = ANY(:ids) AND max_failure_rate IS NOT NULL
                       AND paused_at IS NULL AND cancelled_at IS NULL AND finished_at IS NULL FOR UPDATE SKIP LOCKED)
      AND progress.batch_id = batch.id AND progress.queued > 0 AND {IS_FAILING}
    """
)


def pause_failing(connection: Connection, batches: Iterable[uuid.UUID]) -> None:
    """Pause those of which more failed than they may, counted since they were last resumed."""
    connection.execute(_PAUSE_FAILING, {"ids": list(batches)})


# Locked in a statement of its own: what a retry or a producer committed until then is counted in the next one.
_LOCK = text("SELECT id FROM batches WHERE id = ANY(:ids) AND finished_at IS NULL FOR NO KEY UPDATE SKIP LOCKED")
_SETTLE = text(
    f"""
    UPDATE batches SET finished_at = now(), paused_at = NULL, paused_reason = NULL, outcome = CASE
        WHEN cancelled_at IS NOT NULL THEN 'cancelled'
        WHEN {_GOOD} = progress.total THEN 'completed'
        WHEN {_GOOD} > 0 THEN 'completed_with_errors'
        WHEN progress.expired = progress.total THEN 'expired'
        ELSE 'failed' END
    FROM batch_progress AS progress
    WHERE batches.id = ANY(:ids) AND progress.batch_id = batches.id AND batches.finished_at IS NULL
      AND batches.closes_at <= now() AND {_UNFINAL} = 0 AND {_FINAL} = progress.total
    RETURNING batches.id
    """
)
_FORGET_PACE = text("DELETE FROM batch_minutes WHERE batch_id = ANY(:ids)")


def settle(connection: Connection, batches: Iterable[uuid.UUID]) -> None:
    """Give those an outcome whose jobs are all final; a trigger writes the event."""
    locked = connection.execute(_LOCK, {"ids": list(batches)}).scalars().all()
    settled = connection.execute(_SETTLE, {"ids": locked}).scalars().all()
    connection.execute(_FORGET_PACE, {"ids": settled})
