"""What a worker does with a schedule's run while it lists the source: claim, keep, write, give back.

Every write is fenced by the version that the claim gave. All functions leave the commit to the caller.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from models.claims import LEASE_S
from models.controls import hold_batch
from models.schedule_runs import BEFORE, finish_runs


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run in hand, and the schedule as it was at the claim.

    `batch_id`: what was carried over, or what it has queued into already. `is_begun`: an earlier claim came so far as
    to have settled that. `age_s`: since its tick was noticed.
    """

    id: uuid.UUID
    version: int
    schedule_id: uuid.UUID
    account_id: uuid.UUID
    name: str
    time_zone: str
    tick: datetime
    source: str
    recipe: dict[str, Any]
    output: str | None
    budget_usd: Decimal | None
    admission_window: str | None
    priority: int
    max_failure_rate: float | None
    webhook_url: str | None
    batch_id: uuid.UUID | None
    is_begun: bool
    age_s: float


_CLAIM = text(
    """
    UPDATE schedule_runs AS run SET hold = 'held', version = version + 1, claims = claims + 1,
           due_at = now() + make_interval(secs => :lease)
    FROM schedules AS schedule
    WHERE run.id = :id AND run.hold = 'sent' AND run.state = 'listing' AND schedule.id = run.schedule_id
    RETURNING run.id, run.version, run.schedule_id, schedule.account_id, schedule.name, schedule.time_zone, run.tick,
              schedule.source, schedule.recipe, schedule.output, schedule.budget_usd, schedule.admission_window,
              schedule.priority, schedule.max_failure_rate, schedule.webhook_url, run.batch_id,
              run.found IS NOT NULL AS is_begun, extract(epoch FROM now() - run.started_at)::float8 AS age_s
    """
)


def claim_run(connection: Connection, run_id: uuid.UUID) -> ClaimedRun | None:
    """Take it, if it is still sent; None: it is somebody else's, or over."""
    row = connection.execute(_CLAIM, {"id": run_id, "lease": LEASE_S}).mappings().one_or_none()
    return None if row is None else ClaimedRun(**row)


_HELD = "WHERE id = :id AND version = :version AND hold = 'held' AND state = 'listing'"
_KEEP = text(f"UPDATE schedule_runs SET due_at = now() + make_interval(secs => :lease) {_HELD}")
_PROGRESS = text(
    f"""
    UPDATE schedule_runs SET due_at = now() + make_interval(secs => :lease), seen = greatest(seen, :seen),
           found = coalesce(found, 0) + :found, claims = CASE WHEN :found > 0 THEN 0 ELSE claims END
    {_HELD}
    """
)


def keep_run(connection: Connection, run: ClaimedRun) -> bool:
    """Prolong the lease; False if it is lost."""
    return connection.execute(_KEEP, {**_fence(run), "lease": LEASE_S}).rowcount > 0


def note_progress(connection: Connection, run: ClaimedRun, *, seen: int, found: int) -> bool:
    """So many pictures seen so far, so many more found new; False if the lease is lost: then roll back.

    Until the commit nobody else can take or end the run: what is queued with it is queued once.
    """
    values = {**_fence(run), "lease": LEASE_S, "seen": seen, "found": found}
    return connection.execute(_PROGRESS, values).rowcount > 0


def _fence(run: ClaimedRun) -> dict[str, Any]:
    return {"id": run.id, "version": run.version}


_REJOIN = text(
    """
    UPDATE batches SET
        closes_at = NULL, admission_window = :window, priority = :priority, max_failure_rate = :max_failure_rate,
        webhook_url = :webhook_url,
        budget_usd = CAST(:budget AS numeric) + progress.spent_usd + progress.reserved_usd,
        paused_at = CASE WHEN paused_reason = 'budget' THEN NULL ELSE paused_at END,
        paused_reason = CASE WHEN paused_reason = 'budget' THEN NULL ELSE paused_reason END,
        forgiven_ended = progress.succeeded + progress.failed + progress.rejected,
        forgiven_failed = progress.failed + progress.rejected
    FROM batch_progress AS progress WHERE batches.id = :id AND progress.batch_id = batches.id
    """
)
_LET_GO = text(
    f"""
    UPDATE schedule_runs AS run SET batch_id = NULL, before = (
        SELECT jsonb_object_agg(now.key, coalesce((run.before->>now.key)::numeric, 0) - now.value::text::numeric)
        FROM jsonb_each({BEFORE}) AS now)
    FROM batch_progress AS progress WHERE run.id = :id AND progress.batch_id = run.batch_id
    """
)


def rejoin_batch(connection: Connection, run: ClaimedRun, batch_id: uuid.UUID) -> bool:
    """Let jobs join what was carried over again, with the budget of one more night; False if that is over by now.

    Its failures are judged anew. A pause by a person, or for failures, stays.
    """
    batch = hold_batch(connection, batch_id)
    if batch is None or batch.is_finished or batch.is_cancelled:
        connection.execute(_LET_GO, {"id": run.id})
        return False
    values = {
        "id": batch_id,
        "window": run.admission_window,
        "priority": run.priority,
        "max_failure_rate": run.max_failure_rate,
        "webhook_url": run.webhook_url,
        "budget": run.budget_usd,
    }
    connection.execute(_REJOIN, values)
    return True


_SET_BATCH = text("UPDATE schedule_runs SET batch_id = :batch WHERE id = :id AND version = :version")


def set_batch(connection: Connection, run: ClaimedRun, batch_id: uuid.UUID) -> None:
    """What it queues goes there. For who has noted progress in this transaction."""
    connection.execute(_SET_BATCH, {**_fence(run), "batch": batch_id})


_END = text(
    f"""
    UPDATE schedule_runs SET state = 'running', due_at = NULL, hold = 'idle', error = CAST(:error AS text),
           seen = greatest(seen, :seen), found = coalesce(found, 0) {_HELD} RETURNING batch_id
    """
)


def end_listing(connection: Connection, run: ClaimedRun, *, seen: int, error: str | None = None) -> None:
    """The source is listed, or cannot be: the batch goes on, and with it the run; without a batch it is over."""
    row = connection.execute(_END, {**_fence(run), "seen": seen, "error": error}).one_or_none()
    if row is not None and row.batch_id is None:
        finish_runs(connection, [run.id], ended_by="error" if error else "nothing_new")


_POSTPONE = text(
    f"""
    UPDATE schedule_runs SET hold = 'idle', due_at = now() + make_interval(secs => :due_s), error = :error,
           claims = CASE WHEN :is_forgiven THEN 0 ELSE claims END {_HELD}
    """
)
_HAND_BACK = text(f"UPDATE schedule_runs SET hold = 'idle', due_at = now(), claims = greatest(claims - 1, 0) {_HELD}")


def postpone_run(
    connection: Connection, run: ClaimedRun, *, due_s: float, error: str, is_forgiven: bool = True
) -> None:
    """Listed anew in so many seconds. What is not forgiven counts as a claim that ended without a word."""
    values = {**_fence(run), "due_s": due_s, "error": error, "is_forgiven": is_forgiven}
    connection.execute(_POSTPONE, values)


def hand_back_run(connection: Connection, run: ClaimedRun) -> None:
    """The worker stops: due at once, as if it had not been claimed."""
    connection.execute(_HAND_BACK, _fence(run))
