"""What is due: the statements that hand ids to the stages' queues. One transaction, opened by the caller."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

from models.admission import RESEND_S
from models.base import quoted
from models.endpoint_leases import PENDING_ENDPOINTS
from models.states import WORKING_STATES, JobState, Stage

CHANNEL = "photabatch_due"  # NOTIFY: something became due
LEADER_LOCK = 0x70686F7462  # advisory lock: one dispatcher works, the others wait for it
MAX_CLAIMS = 5  # claims that end without a word, all but the first alone in a message, before a job counts as poison
QUARANTINE = 2  # such claims, from which on a job goes out only while no other of its kind is out
IMPATIENCE_S = 3.0  # a message this old in an empty queue is lost, not late

_STAGE_OF = {state.value: state.stage for state in WORKING_STATES if state.stage}


def try_to_lead(connection: Connection) -> bool:
    """Whether this connection leads; the lock goes with the connection, however it ends."""
    return bool(connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LEADER_LOCK}))


_NOTIFY = text(f"SELECT pg_notify('{CHANNEL}', '')")


def notify(connection: Connection) -> None:
    """Wake the dispatcher when this transaction commits."""
    connection.execute(_NOTIFY)


_WAKE = text(
    """
    UPDATE jobs SET due_at = CASE hold WHEN 'idle' THEN now() ELSE due_at END, is_woken = hold = 'held'
    WHERE remote_job_id = :remote_job_id AND state = 'running' AND (hold = 'idle' AND due_at > now() OR hold = 'held')
    """
)


def wake_by_remote_id(connection: Connection, remote_job_id: str) -> int:
    """Ask Phota for this job now, if it waits to be asked for, or once more if a worker asks in this moment.

    How many jobs that was, one as a rule.
    """
    woken = connection.execute(_WAKE, {"remote_job_id": remote_job_id}).rowcount
    if woken:
        notify(connection)
    return woken


# Here and below an array of ids: their rows are found by key, also by a plan that was made while the table was small.
_POISON = text(
    f"""
    UPDATE jobs SET state = 'failed', due_at = NULL, hold = 'idle', finished_at = now(), error_code = 'worker_lost',
           error_message = 'a worker took this job and fell silent, ' || claims || ' times',
           cost_usd = CASE WHEN requested_at IS NOT NULL THEN coalesce(cost_usd, estimate_usd) END
    WHERE id = ANY (ARRAY(SELECT id FROM jobs WHERE state IN ({quoted(WORKING_STATES)}) AND due_at <= now()
                 AND claims >= :limit FOR UPDATE SKIP LOCKED))
    """
)


def fail_poison(connection: Connection) -> None:
    connection.execute(_POISON, {"limit": MAX_CLAIMS})


# A call that has failed is not due by itself: it has a budget (`worker/retry.py`).
_IS_RETRY = f"state = '{JobState.SUBMITTING}' AND attempt > 0"

_DUE = text(
    f"""
    UPDATE jobs SET hold = 'sent', due_at = now() + make_interval(secs => :resend)
    WHERE id = ANY (ARRAY(SELECT id FROM jobs WHERE state IN ({quoted(WORKING_STATES)}) AND due_at <= now()
                 AND claims < {QUARANTINE} AND NOT ({_IS_RETRY})
                 ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING id, state
    """
)


# Who dies takes along what else is in hand: at this one's next death nobody else of those is to be there again.
_ALONE = text(
    f"""
    UPDATE jobs SET hold = 'sent', due_at = now() + make_interval(secs => :resend)
    WHERE id = (SELECT id FROM jobs WHERE state IN ({quoted(WORKING_STATES)}) AND claims >= {QUARANTINE}
                AND due_at <= now() AND NOT EXISTS (
                    SELECT FROM jobs AS other WHERE claims >= {QUARANTINE} AND due_at > now()
                    AND (hold = 'sent' OR hold = 'held' AND claims > {QUARANTINE}))
                ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, state
    """
)


def take_due(connection: Connection, *, limit: int) -> dict[Stage, list[uuid.UUID]]:
    """Whatever is due, whoever held it, but for calls to be repeated: marked as sent, by stage.

    Of jobs whose claims ended without a word `QUARANTINE` times one, if no other of them is on its way or in hand.
    """
    due = connection.execute(_DUE, {"resend": RESEND_S, "limit": limit})
    alone = connection.execute(_ALONE, {"resend": RESEND_S})
    return _by_stage([*due, *alone])


_RETRIES = text(
    f"""
    UPDATE jobs SET hold = 'sent', due_at = now() + make_interval(secs => :resend)
    WHERE id = ANY (ARRAY(SELECT id FROM jobs WHERE {_IS_RETRY} AND claims < {QUARANTINE} AND due_at <= now()
                 ORDER BY priority, due_at LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING id
    """
)


def take_retries(connection: Connection, *, limit: int) -> list[uuid.UUID]:
    """Calls that failed and are due to be repeated: marked as sent."""
    return list(connection.execute(_RETRIES, {"resend": RESEND_S, "limit": limit}).scalars())


_FORGIVE = text(
    """
    UPDATE jobs SET attempt = greatest(attempt - 1, 1)
    WHERE id = ANY(:ids) AND requested_at > now() - make_interval(secs => :age)
    """
)


def forgive(connection: Connection, ids: Sequence[uuid.UUID], *, younger_than_s: float) -> None:
    """Their next failure costs no attempt, unless their first call is older than that."""
    connection.execute(_FORGIVE, {"ids": list(ids), "age": younger_than_s})


_SUSPECTS = text("SELECT id FROM jobs WHERE id = ANY(:ids) AND claims > 0")


def suspects(connection: Connection, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those whose last claim ended without a word: one of them may have killed its worker, and the others with it."""
    return set(connection.execute(_SUSPECTS, {"ids": list(ids)}).scalars()) if ids else set()


_LOST = text(
    """
    UPDATE jobs SET due_at = now() + make_interval(secs => :resend)
    WHERE id = ANY (ARRAY(SELECT id FROM jobs WHERE state = :state AND hold = 'sent'
                 AND due_at BETWEEN now() AND now() + make_interval(secs => :resend - :impatience)
                 ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING id, state
    """
)


def take_lost(connection: Connection, stage: Stage, *, limit: int, since_s: float = IMPATIENCE_S) -> list[uuid.UUID]:
    """What was sent so long ago, asked for when the stage's queue is empty, or flushed: those messages are gone."""
    state = next(state for state in WORKING_STATES if state.stage is stage)
    rows = connection.execute(_LOST, {"resend": RESEND_S, "impatience": since_s, "state": state, "limit": limit})
    return _by_stage(rows).get(stage, [])


_UNSENT = text(
    """
    UPDATE jobs SET hold = 'idle', due_at = now() + make_interval(secs => 1)
    WHERE id = ANY(:ids) AND hold = 'sent'
    """
)


def unsend(connection: Connection, ids: Sequence[uuid.UUID]) -> None:
    """The broker did not take the message: due again in a second."""
    connection.execute(_UNSENT, {"ids": list(ids)})


# What waits for a budget or for its turn alone would have the dispatcher look all the time.
_NEXT_JOB = f"""
    SELECT min(due_at) AS due_at FROM jobs
    WHERE state IN ({quoted(WORKING_STATES)}) AND claims < {QUARANTINE} AND NOT ({_IS_RETRY})
"""
# An endpoint with a backlog is due when its lease, resend or pace allows.
_NEXT_ENDPOINT = """
    SELECT min(greatest(pending.due_at, endpoint.due_at)) AS due_at
    FROM pending JOIN webhook_endpoints AS endpoint ON endpoint.id = pending.endpoint_id
"""
_SECONDS = "SELECT extract(epoch FROM min(due_at) - now())::float8 FROM"
_NEXT_DUE = text(f"{PENDING_ENDPOINTS} {_SECONDS} ({_NEXT_JOB} UNION ALL {_NEXT_ENDPOINT}) AS next")
_NEXT_JOB_DUE = text(f"{_SECONDS} ({_NEXT_JOB}) AS next")


def seconds_to_next(connection: Connection, *, with_endpoints: bool = True) -> float | None:
    """Until the next job or endpoint is due; None if there is none."""
    seconds: float | None = connection.scalar(_NEXT_DUE if with_endpoints else _NEXT_JOB_DUE)
    return seconds


def _by_stage(rows: Iterable[Row[Any]]) -> dict[Stage, list[uuid.UUID]]:
    stages: dict[Stage, list[uuid.UUID]] = {}
    for row in rows:
        stages.setdefault(_STAGE_OF[row.state], []).append(row.id)
    return stages
