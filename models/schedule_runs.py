"""Runs of schedules in motion: begun by a tick, listed by a worker that holds them, ended by the dispatcher.

A run that lists is dispatched and leased the way jobs are. What it came to is the difference between what its batch
has done at its end and what it had done `before`. All functions leave the commit to the caller, who opened the
transaction. `now` is the dispatcher's moment: the database's, or a test's.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from models.admission import RESEND_S
from models.base import new_id

MAX_CLAIMS = 3  # that end without a word before a run is given up

_GOOD = "progress.succeeded + progress.skipped"
_BAD = "progress.failed + progress.rejected + progress.expired"
_WAITING = "progress.queued + progress.submitting + progress.running + progress.storing"
BEFORE = f"jsonb_build_object('done', {_GOOD}, 'failed', {_BAD}, 'spent_usd', progress.spent_usd)"


def _since(now: str, name: str) -> str:
    """Whatever people do to the batch meanwhile (a retry lowers what has failed), nothing is less than none."""
    return f"greatest(coalesce({now}, 0) - coalesce((run.before->>'{name}')::numeric, 0), 0)"


# What a run has come to, by column: numbers of its batch, `progress`, less those from before it.
TALLY = {
    "done": f"{_since(_GOOD, 'done')}::bigint",
    "failed": f"{_since(_BAD, 'failed')}::bigint",
    "carried_over": f"coalesce({_WAITING}, 0)::bigint",
    "spent_usd": _since("progress.spent_usd", "spent_usd"),
}
_FINISH = f"""
    UPDATE schedule_runs AS run SET
        state = CASE WHEN run.error IS NULL THEN 'finished' ELSE 'failed' END, due_at = NULL, hold = 'idle',
        ended_by = :ended_by, finished_at = coalesce(CAST(:now AS timestamptz), now()),
        seen = coalesce(run.seen, 0), found = coalesce(run.found, 0),
        {", ".join(f"{name} = told.{name}" for name in TALLY)}
    FROM (
        SELECT run.id, {", ".join(f"{live} AS {name}" for name, live in TALLY.items())}
        FROM schedule_runs AS run LEFT JOIN batch_progress AS progress ON progress.batch_id = run.batch_id
        WHERE run.finished_at IS NULL AND {{which}}
    ) AS told
    WHERE run.id = told.id AND run.finished_at IS NULL
"""
_FINISH_THESE = text(_FINISH.format(which="run.id = ANY(:ids)"))
_FINISH_LISTING = text(_FINISH.format(which="run.schedule_id = :schedule AND run.state = 'listing'"))


def finish_runs(
    connection: Connection, ids: Collection[uuid.UUID], *, ended_by: str, now: datetime | None = None
) -> None:
    """They are over, and their summary is written; a trigger writes the event. One with an error has failed."""
    connection.execute(_FINISH_THESE, {"ids": list(ids), "ended_by": ended_by, "now": now})


def finish_listing(connection: Connection, schedule_id: uuid.UUID, *, ended_by: str) -> None:
    """As `finish_runs`, for what still lists the source of that schedule: whoever does has lost it."""
    connection.execute(_FINISH_LISTING, {"schedule": schedule_id, "ended_by": ended_by, "now": None})


# A worker that froze in its transaction must not hold up the dispatcher, so it looks before it ends a run.
_UNFINISHED = text("SELECT id FROM schedule_runs WHERE schedule_id = :schedule AND finished_at IS NULL")
_LOCK_UNFINISHED = text(f"{_UNFINISHED} FOR NO KEY UPDATE SKIP LOCKED")


def lock_unfinished(connection: Connection, schedule_id: uuid.UUID) -> bool:
    """Whether nobody else writes the schedule's unfinished runs until the commit."""
    wanted = {"schedule": schedule_id}
    locked = set(connection.execute(_LOCK_UNFINISHED, wanted).scalars())
    return locked == set(connection.execute(_UNFINISHED, wanted).scalars())


# One statement, one snapshot: what a run has done and what the next one finds done before it cannot overlap.
_BEGIN = text(
    f"""
    WITH carried AS (
        SELECT batch.id, {BEFORE} AS before
        FROM (SELECT id, finished_at, cancelled_at FROM batches WHERE schedule_id = :schedule
              ORDER BY id DESC LIMIT 1) AS batch
        JOIN batch_progress AS progress ON progress.batch_id = batch.id
        WHERE batch.finished_at IS NULL AND batch.cancelled_at IS NULL
    ), begun AS (
        INSERT INTO schedule_runs (id, schedule_id, tick, due_at, started_at, batch_id, before)
        SELECT :id, :schedule, :tick, :now, :now, carried.id, carried.before FROM (SELECT) AS one
        LEFT JOIN carried ON true
        ON CONFLICT DO NOTHING RETURNING id
    ), ended AS (
        {_FINISH.format(which="run.schedule_id = :schedule AND EXISTS (SELECT FROM begun)")}
    )
    SELECT id FROM begun
    """
)


def begin_run(connection: Connection, schedule_id: uuid.UUID, *, tick: datetime, now: datetime) -> uuid.UUID | None:
    """A run for that tick, due at once, which ends the one before if it is not over; None if the tick has its run."""
    values = {"id": new_id(), "schedule": schedule_id, "tick": tick, "now": now, "ended_by": "next_tick"}
    begun: uuid.UUID | None = connection.scalar(_BEGIN, values)
    return begun


_SEND = text(
    """
    UPDATE schedule_runs SET hold = 'sent', due_at = :now + make_interval(secs => :resend)
    WHERE id IN (SELECT id FROM schedule_runs WHERE state = 'listing' AND due_at <= :now
                 ORDER BY due_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING id
    """
)


def take_due_runs(connection: Connection, now: datetime, *, limit: int) -> list[uuid.UUID]:
    """Those whose source is to be listed, whoever held them: marked as sent."""
    values = {"now": now, "resend": RESEND_S, "limit": limit}
    return list(connection.execute(_SEND, values).scalars())


_UNSENT = text(
    """
    UPDATE schedule_runs SET hold = 'idle', due_at = now() + make_interval(secs => 1)
    WHERE id = ANY(:ids) AND hold = 'sent'
    """
)


def unsend_runs(connection: Connection, ids: Sequence[uuid.UUID]) -> None:
    """The broker did not take the message: due again in a second."""
    connection.execute(_UNSENT, {"ids": list(ids)})


_POISON = text(
    """
    UPDATE schedule_runs SET state = 'running', due_at = NULL, hold = 'idle',
           error = 'worker_lost: a worker took this run and fell silent, ' || claims || ' times'
                   || coalesce('; ' || error, '')
    WHERE id IN (SELECT id FROM schedule_runs WHERE state = 'listing' AND due_at <= :now AND claims >= :limit
                 FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING id, batch_id
    """
)


def fail_poison_runs(connection: Connection, now: datetime) -> None:
    """Give up listing where workers die of it; what such a run has queued goes on."""
    rows = connection.execute(_POISON, {"now": now, "limit": MAX_CLAIMS}).all()
    finish_runs(connection, [row.id for row in rows if row.batch_id is None], ended_by="error", now=now)


@dataclass(frozen=True, slots=True)
class RunningRun:
    """A run whose batch is worked on."""

    id: uuid.UUID
    started_at: datetime
    window: str | None
    is_batch_finished: bool
    paused_reason: str | None
    in_flight: int  # jobs


_RUNNING = text(
    """
    SELECT run.id, run.started_at, batch.admission_window AS window, batch.paused_reason,
           batch.finished_at IS NOT NULL AS is_batch_finished,
           progress.submitting + progress.running + progress.storing AS in_flight
    FROM schedule_runs AS run JOIN batches AS batch ON batch.id = run.batch_id
    JOIN batch_progress AS progress ON progress.batch_id = batch.id
    WHERE run.finished_at IS NULL AND run.state = 'running'
    """
)


def running_runs(connection: Connection) -> list[RunningRun]:
    return [RunningRun(**row) for row in connection.execute(_RUNNING).mappings()]


# Also what a run left open that was ended from outside.
_CLOSE = text(
    """
    UPDATE batches SET closes_at = now()
    WHERE id IN (
        SELECT batch.id FROM batches AS batch
        WHERE batch.schedule_id IS NOT NULL AND batch.closes_at IS NULL AND batch.finished_at IS NULL
          AND NOT EXISTS (SELECT FROM schedule_runs AS run WHERE run.schedule_id = batch.schedule_id
                          AND run.state = 'listing' AND run.finished_at IS NULL)
        FOR NO KEY UPDATE SKIP LOCKED)
    """
)


def close_listed(connection: Connection) -> None:
    """Close batches of schedules that nobody lists for any more: they may finish."""
    connection.execute(_CLOSE)
