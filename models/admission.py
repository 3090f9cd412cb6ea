"""Who goes next: the statements of the leading dispatcher's admission. One transaction, opened by the caller."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import Connection, RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from models.base import quoted
from models.failures import IS_FAILING, UNJUDGED
from models.money import account_money
from models.outlook import UNKNOWN_S
from models.states import IN_FLIGHT_STATES, WORKING_STATES

RESEND_S = 60.0  # a message that nobody has taken by then is sent again
AGAIN_S = 2.0  # until a job that waits for its like is looked at again


@dataclass(frozen=True, slots=True)
class Lane:
    """A batch (or an account's lone jobs) with jobs due in one priority band.

    `money_usd` and `account_usd`: what its budget and its account's budgets still cover; None without one. `room_s`:
    seconds by whose end a call that begins now has to be done, as its window and deadline say; None: whenever.
    `operation` and `next_usd`: of its next job, and the most that it costs. `most`: how many more may be in flight.
    """

    priority: int
    lane_id: uuid.UUID
    weight: int
    in_flight: int
    money_usd: Decimal | None = None
    account_id: uuid.UUID | None = None
    account_usd: Decimal | None = None
    is_over: bool = False  # the batch is cancelled or finished: what still waits in it is not called any more
    window: str | None = None
    deadline: datetime | None = None
    room_s: float | None = None
    operation: str | None = None
    next_usd: Decimal | None = None
    budget_usd: Decimal | None = None
    most: int | None = None


# A generation that goes on with an earlier call (it has that one's `client_request_id`) keeps Phota no busier.
_COUNT_IN_FLIGHT = text(
    f"""
    SELECT lane_id, count(*) AS n FROM jobs
    WHERE state IN ({quoted(IN_FLIGHT_STATES)}) AND client_request_id = replace(id::text, '-', '') GROUP BY lane_id
    """
)


def in_flight_by_lane(connection: Connection) -> dict[uuid.UUID, int]:
    return {row.lane_id: row.n for row in connection.execute(_COUNT_IN_FLIGHT)}


# Steps from one (priority, lane) to the next through the index, so its cost is the number of lanes, not of jobs.
_LANES = text(
    f"""
    WITH RECURSIVE lane AS (
        (SELECT priority, lane_id FROM jobs WHERE state = 'queued' ORDER BY priority, lane_id LIMIT 1)
        UNION ALL
        SELECT next.priority, next.lane_id FROM lane CROSS JOIN LATERAL (
            SELECT priority, lane_id FROM jobs
            WHERE state = 'queued' AND (priority, lane_id) > (lane.priority, lane.lane_id)
            ORDER BY priority, lane_id LIMIT 1
        ) AS next
    )
    SELECT lane.priority, lane.lane_id, coalesce(batch.weight, 1) AS weight,
           coalesce(batch.cancelled_at, batch.finished_at) IS NOT NULL AS is_over,
           batch.budget_usd, batch.budget_usd - (progress.spent_usd + progress.reserved_usd) AS money_usd,
           batch.admission_window AS window, batch.deadline, head.*,
           {UNJUDGED} AS unjudged
    FROM lane
    JOIN LATERAL (
        SELECT account_id, operation, estimate_usd AS next_usd FROM jobs
        WHERE state = 'queued' AND priority = lane.priority AND lane_id = lane.lane_id AND due_at <= now()
        ORDER BY due_at, id LIMIT 1
    ) AS head ON true
    LEFT JOIN batches AS batch ON batch.id = lane.lane_id
    LEFT JOIN batch_progress AS progress ON progress.batch_id = batch.id
        AND (batch.budget_usd IS NOT NULL OR batch.max_failure_rate IS NOT NULL)
    WHERE batch.cancelled_at IS NOT NULL OR (batch.paused_at IS NULL AND {IS_FAILING} IS NOT TRUE)
    ORDER BY lane.priority, lane.lane_id
    """
)


def waiting_lanes(connection: Connection, in_flight: dict[uuid.UUID, int]) -> list[Lane]:
    rows = connection.execute(_LANES).mappings().all()
    money = account_money(connection, {row["account_id"] for row in rows})
    return [_lane(row, in_flight.get(row["lane_id"], 0), money) for row in rows]


def _lane(row: RowMapping, in_flight: int, money: Mapping[uuid.UUID, Decimal]) -> Lane:
    """Until a batch's failures can be judged, no more of it is in flight than the judgement takes."""
    fields = {name: value for name, value in row.items() if name != "unjudged"}
    most = None if row["unjudged"] is None else max(0, row["unjudged"] - in_flight)
    return Lane(in_flight=in_flight, account_usd=money.get(row["account_id"]), most=most, **fields)


class Fate(StrEnum):
    """What became of a waiting job that was looked at."""

    ADMITTED = "admitted"
    SKIPPED = "skipped"  # the same was done before
    WAITS = "waits"  # the same is being done: looked at again when that may have ended


@dataclass(frozen=True, slots=True)
class Admission:
    job_id: uuid.UUID
    lane_id: uuid.UUID
    fate: Fate


# Lanes were read a moment ago, so their batches are looked at again under a lock that lets producers in and keeps out
# `hold_batch`: a pause, a cancel or a new budget comes before this statement, which then passes the batch over, or
# waits for the commit, after which nothing is admitted. A lane of lone jobs has its account's id. SKIP LOCKED: a cancel
# or a long retry in progress must not hold up everybody else's admission.
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
                SELECT id, due_at, operation, estimate_usd, content_key, is_redo, batch_id FROM jobs
                WHERE state = 'queued' AND priority = lane.priority AND lane_id = lane.lane_id AND due_at <= now()
                ORDER BY due_at, id LIMIT lane.slots FOR UPDATE SKIP LOCKED
            ) AS first
        ) AS next
    ), known AS (
        SELECT pick.*, done.id AS done_id, busy.id AS busy_id,
               CASE WHEN done.id IS NULL AND busy.id IS NULL THEN estimate_usd ELSE 0 END AS cost_usd
        FROM pick LEFT JOIN LATERAL (
            SELECT id FROM jobs WHERE content_key = pick.content_key AND state = 'succeeded'
              AND (NOT pick.is_redo OR batch_id = pick.batch_id) ORDER BY id DESC LIMIT 1
        ) AS done ON true
        LEFT JOIN LATERAL (
            SELECT id FROM jobs WHERE content_key = pick.content_key AND state IN ({quoted(WORKING_STATES)}) LIMIT 1
        ) AS busy ON true
    ), timed AS (
        SELECT *, done_id IS NULL AND busy_id IS NULL
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
        SELECT id, done_id, CASE
            WHEN done_id IS NOT NULL THEN '{Fate.SKIPPED}'
            WHEN busy_id IS NOT NULL THEN '{Fate.WAITS}'
            WHEN NOT is_possible OR NOT is_covered THEN NULL
            WHEN is_first THEN '{Fate.ADMITTED}' ELSE '{Fate.WAITS}' END AS fate
        FROM summed
    )
    UPDATE jobs SET
        state = CASE fate WHEN '{Fate.ADMITTED}' THEN 'submitting' WHEN '{Fate.SKIPPED}' THEN 'skipped' ELSE state END,
        hold = CASE fate WHEN '{Fate.ADMITTED}' THEN 'sent' ELSE 'idle' END,
        admitted_at = CASE fate WHEN '{Fate.ADMITTED}' THEN now() END,
        same_as = done_id,
        estimate_usd = CASE fate WHEN '{Fate.SKIPPED}' THEN 0 ELSE estimate_usd END,
        finished_at = CASE fate WHEN '{Fate.SKIPPED}' THEN now() END,
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

    Reserves by admitting. Of jobs of the same content one is admitted at a time, and none where it was done before.
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
    WHERE id = ANY (ARRAY(SELECT id FROM jobs WHERE state = 'queued' AND lane_id = ANY(:lanes) LIMIT 10000
                 FOR UPDATE SKIP LOCKED))
    """
)


def cancel_left(connection: Connection, lanes: Sequence[Lane]) -> None:
    """End what came back to `queued`, or came in, just when its batch was cancelled."""
    connection.execute(_CANCEL_LEFT, {"lanes": [lane.lane_id for lane in lanes]})


_UNSTORED = text("SELECT count(*) FROM jobs WHERE state = 'storing'")


def count_unstored(connection: Connection) -> int:
    """Results that are paid for and not in the bucket yet."""
    return int(connection.execute(_UNSTORED).scalar_one())


_EXPIRE = text(
    """
    UPDATE jobs SET state = 'expired', due_at = NULL, finished_at = now(), error_code = 'expired',
           error_message = 'its expires_at passed before it was admitted'
    WHERE id = ANY (ARRAY(SELECT id FROM jobs WHERE state = 'queued' AND expires_at <= now()
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
