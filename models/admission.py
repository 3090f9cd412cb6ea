"""Who goes next: the statements of the leading dispatcher's admission. One transaction, opened by the caller."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from models.job import IS_BUSY, IS_UNCLEAR
from models.lanes import Lane
from models.outlook import UNKNOWN_S

RESEND_S = 60.0  # a message that nobody has taken by then is sent again
AGAIN_S = 2.0  # until a job that waits for its like is looked at again


class Fate(StrEnum):
    """What became of a waiting job that was looked at."""

    ADMITTED = "admitted"
    SKIPPED = "skipped"  # the same was done before
    UNCLEAR = "unclear"  # the same may have been charged before: failed, until a person decides
    WAITS = "waits"  # the same is being done: looked at again when that may have ended


@dataclass(frozen=True, slots=True)
class Admission:
    job_id: uuid.UUID
    lane_id: uuid.UUID
    fate: Fate


_SLUG = "(SELECT slug FROM batches WHERE id = jobs.batch_id)"
_UNCLEAR = f"""
    'the same was called before, as job ' || id || coalesce(' of batch ' || {_SLUG}, '')
    || ', and may have been charged (' || coalesce(error_code, 'unknown') || ')'
    || coalesce(': `photabatch retry ' || {_SLUG} || '` goes on with that call', '')
    || '; `retry --pay-again` for this one makes another call'
"""
# Lanes were read a moment ago, so their batches are looked at again under a lock that lets producers in and keeps out
# `hold_batch`: a pause, a cancel or a new budget comes before this statement, which then passes the batch over, or
# waits for the commit, after which nothing is admitted. A lane of lone jobs has its account's id. SKIP LOCKED: a cancel
# or a long retry in progress must not hold up everybody else's admission.
# What was done before is skipped, what is being done is waited for, and only then a failure that may have been charged
# counts: whatever is free comes first.
# Of jobs of one content the first that its batch can pay for goes: the others would wait for one that does not come.
# Money is summed over what would be called, in the lane's order and, for lanes of one account, turn by turn; a job that
# is dearer than all that its account has left does not stand in the way of the others. The array finds rows by their
# key whatever the planner thinks of how many they are.
_ADMIT = text(
    f"""
    WITH lane AS (
        SELECT * FROM unnest(CAST(:priorities AS int[]), CAST(:lanes AS uuid[]), CAST(:slots AS int[]),
                             CAST(:rooms AS float8[]), CAST(:money AS numeric[]), CAST(:accounts AS uuid[]),
                             CAST(:account_money AS numeric[]), CAST(:budgets AS numeric[]))
            WITH ORDINALITY
            AS l (priority, lane_id, slots, room_s, money_usd, account_id, account_usd, budget_usd, turn)
    ), going AS MATERIALIZED (
        SELECT id, budget_usd FROM batches
        WHERE id = ANY (CAST(:lanes AS uuid[])) AND coalesce(paused_at, cancelled_at, finished_at) IS NULL
        FOR SHARE SKIP LOCKED
    ), pick AS (
        SELECT lane.*, next.* FROM (
            SELECT lane.* FROM lane LEFT JOIN going ON going.id = lane.lane_id
            WHERE lane.lane_id = lane.account_id
               OR going.id IS NOT NULL AND going.budget_usd IS NOT DISTINCT FROM lane.budget_usd
        ) AS lane CROSS JOIN LATERAL (
            SELECT first.*, row_number() OVER (ORDER BY due_at, id) AS place FROM (
                SELECT id, due_at, operation, estimate_usd, content_key, is_redo, is_paid_again, batch_id FROM jobs
                WHERE state = 'queued' AND priority = lane.priority AND lane_id = lane.lane_id AND due_at <= now()
                ORDER BY due_at, id LIMIT lane.slots FOR UPDATE SKIP LOCKED
            ) AS first
        ) AS next
    ), known AS (
        SELECT pick.*, done.id AS done_id, busy.id AS busy_id, unclear.message AS unclear,
               done.id IS NULL AND busy.id IS NULL AND unclear.message IS NULL AS is_new,
               CASE WHEN done.id IS NULL AND busy.id IS NULL AND unclear.message IS NULL
                    THEN estimate_usd ELSE 0 END AS cost_usd
        FROM pick LEFT JOIN LATERAL (
            SELECT id FROM jobs WHERE content_key = pick.content_key AND state = 'succeeded'
              AND (NOT pick.is_redo OR batch_id = pick.batch_id) ORDER BY id DESC LIMIT 1
        ) AS done ON true
        LEFT JOIN LATERAL (
            SELECT id FROM jobs WHERE content_key = pick.content_key AND {IS_BUSY} LIMIT 1
        ) AS busy ON true
        LEFT JOIN LATERAL (
            SELECT {_UNCLEAR} AS message FROM jobs WHERE content_key = pick.content_key AND {IS_UNCLEAR}
              AND NOT pick.is_paid_again AND (NOT pick.is_redo OR batch_id = pick.batch_id) ORDER BY id LIMIT 1
        ) AS unclear ON true
    ), timed AS (
        SELECT *, is_new
               AND coalesce(sum(cost_usd) OVER (PARTITION BY priority, lane_id ORDER BY place) <= money_usd, true)
               AND coalesce(coalesce((CAST(:latency AS jsonb) ->> operation)::float8, :unknown) <= room_s, true)
               AS is_possible
        FROM known
    ), ranked AS (
        SELECT *, is_possible AND (content_key IS NULL OR row_number() OVER (
                   PARTITION BY content_key, is_possible ORDER BY place, turn) = 1) AS is_first
        FROM timed
    ), summed AS (
        SELECT *, cost_usd <= account_usd AND coalesce(
                   sum(cost_usd) FILTER (WHERE is_first AND cost_usd <= account_usd)
                       OVER (PARTITION BY account_id ORDER BY place, turn), 0) <= account_usd AS is_covered
        FROM ranked
    ), judged AS MATERIALIZED (
        SELECT id, done_id, unclear, CASE
            WHEN done_id IS NOT NULL THEN '{Fate.SKIPPED}'
            WHEN busy_id IS NOT NULL THEN '{Fate.WAITS}'
            WHEN unclear IS NOT NULL THEN '{Fate.UNCLEAR}'
            WHEN NOT is_possible OR NOT is_covered THEN NULL
            WHEN is_first THEN '{Fate.ADMITTED}' ELSE '{Fate.WAITS}' END AS fate
        FROM summed
    )
    UPDATE jobs SET
        state = CASE fate WHEN '{Fate.ADMITTED}' THEN 'submitting' WHEN '{Fate.SKIPPED}' THEN 'skipped'
                          WHEN '{Fate.UNCLEAR}' THEN 'failed' ELSE state END,
        hold = CASE fate WHEN '{Fate.ADMITTED}' THEN 'sent' ELSE 'idle' END,
        admitted_at = CASE fate WHEN '{Fate.ADMITTED}' THEN now() END,
        same_as = done_id,
        estimate_usd = CASE fate WHEN '{Fate.SKIPPED}' THEN 0 ELSE estimate_usd END,
        error_code = CASE fate WHEN '{Fate.SKIPPED}' THEN NULL WHEN '{Fate.UNCLEAR}' THEN 'needs_review'
                               ELSE error_code END,
        error_message = CASE fate WHEN '{Fate.SKIPPED}' THEN NULL WHEN '{Fate.UNCLEAR}' THEN unclear
                                  ELSE error_message END,
        finished_at = CASE WHEN fate IN ('{Fate.SKIPPED}', '{Fate.UNCLEAR}') THEN now() END,
        due_at = CASE fate WHEN '{Fate.ADMITTED}' THEN now() + make_interval(secs => :resend)
                           WHEN '{Fate.WAITS}' THEN now() + make_interval(secs => :again) END
    FROM judged
    WHERE jobs.id = judged.id AND fate IS NOT NULL AND jobs.id = ANY (ARRAY(SELECT id FROM judged))
    RETURNING jobs.id AS job_id, jobs.lane_id, fate
    """
).bindparams(bindparam("latency", type_=JSONB))


def admit(
    connection: Connection, slots: Sequence[tuple[Lane, int]], *, latency_s: Mapping[str, float] | None = None
) -> list[Admission]:
    """Look at up to so many jobs a lane and admit them, as far as money and time go; what became of each it goes for.

    Reserves by admitting. Of jobs of the same content one is admitted at a time, and none where it was done before, or
    may have been charged and failed.
    `latency_s`: how long calls of an operation are likely to take; `UNKNOWN_S` where it is not in there.
    """
    rows = connection.execute(
        _ADMIT,
        {
            "priorities": [lane.priority for lane, _ in slots],
            "lanes": [lane.lane_id for lane, _ in slots],
            "slots": [count for _, count in slots],
            "rooms": [lane.room_s for lane, _ in slots],
            "money": [lane.money_usd for lane, _ in slots],
            "accounts": [lane.account_id for lane, _ in slots],
            "account_money": [lane.account_usd for lane, _ in slots],
            "budgets": [lane.budget_usd for lane, _ in slots],
            "latency": dict(latency_s or {}),
            "unknown": UNKNOWN_S,
            "resend": RESEND_S,
            "again": AGAIN_S,
        },
    )
    return [Admission(row.job_id, row.lane_id, Fate(row.fate)) for row in rows]


_CANCEL_LEFT = text(
    """
    UPDATE jobs SET state = 'cancelled', due_at = NULL, finished_at = now()
    WHERE id = ANY (ARRAY(SELECT id FROM jobs WHERE state = 'queued' AND priority IN (0, 1, 2) AND lane_id = ANY(:lanes)
                 LIMIT 10000 FOR UPDATE SKIP LOCKED))
    """
)


def cancel_left(connection: Connection, lanes: Sequence[Lane]) -> None:
    """End what came back to `queued`, or came in, just when its batch was cancelled."""
    connection.execute(_CANCEL_LEFT, {"lanes": [lane.lane_id for lane in lanes]})


_UNSTORED = text("SELECT count(*) FROM jobs WHERE state = 'storing'")


def count_unstored(connection: Connection) -> int:
    """Results that are paid for and not in the bucket yet."""
    return int(connection.execute(_UNSTORED).scalar_one())


# LIKE: the same, but no condition that the planner could use the index of all that waits for.
_EXPIRE = text(
    """
    UPDATE jobs SET state = 'expired', due_at = NULL, finished_at = now(), error_code = 'expired',
           error_message = 'its expires_at passed before it was admitted'
    WHERE id = ANY (ARRAY(SELECT id FROM jobs
                 WHERE expires_at <= now() AND finished_at IS NULL AND state LIKE 'queued'
                 LIMIT 1000 FOR UPDATE SKIP LOCKED))
    """
)


# Batch by batch and band by band, as the index of admission has them, whatever the planner thinks of their numbers.
_PAST_DEADLINE = text(
    """
    UPDATE jobs SET state = 'expired', due_at = NULL, finished_at = now(), error_code = 'deadline',
           error_message = 'the deadline of its batch passed before it was admitted'
    WHERE id = ANY (ARRAY(
        SELECT late.id FROM batches CROSS JOIN unnest(ARRAY[0, 1, 2]) AS band CROSS JOIN LATERAL (
            SELECT id FROM jobs WHERE state = 'queued' AND priority = band AND lane_id = batches.id
            LIMIT 5000 FOR UPDATE SKIP LOCKED
        ) AS late
        WHERE batches.deadline <= :now AND batches.finished_at IS NULL LIMIT 5000))
    """
)


def expire(connection: Connection, now: datetime) -> None:
    """End what waited beyond its `expires_at` by the database's clock, or beyond its batch's deadline at `now`."""
    connection.execute(_EXPIRE)
    connection.execute(_PAST_DEADLINE, {"now": now})


_PAUSE_WITHOUT_MONEY = text(
    """
    UPDATE batches SET paused_at = now(), paused_reason = 'budget'
    WHERE id IN (SELECT id FROM batches WHERE id = :lane AND paused_at IS NULL AND finished_at IS NULL
                 AND budget_usd = :budget FOR UPDATE SKIP LOCKED)
      AND (SELECT estimate_usd FROM jobs WHERE state = 'queued' AND priority = :priority AND lane_id = :lane
           AND due_at <= now() ORDER BY due_at, id LIMIT 1) > :money
    """
)


def pause_without_money(connection: Connection, lane: Lane) -> None:
    """Pause the lane's batch if its budget does not cover its next job."""
    if lane.money_usd is not None:
        values = {"lane": lane.lane_id, "priority": lane.priority, "money": lane.money_usd, "budget": lane.budget_usd}
        connection.execute(_PAUSE_WITHOUT_MONEY, values)
