"""What a worker does to jobs: claim, keep, move. Every write is fenced by the version that the claim gave.

All functions take an open connection and leave the commit to the caller.
"""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from models.base import quoted
from models.states import FINAL_STATES, Hold, JobState, Stage

LEASE_S = 30.0  # a killed worker's jobs move again within this and one tick
HEARTBEAT_S = 10.0  # a third of the lease: two beats may be lost
# Beyond 24 h nobody promises that Phota still knows a client_request_id, and a call leaves some time after its claim:
# behind inputs that are read first, or out of a process that stood still.
REQUEST_ID_AGE_S = 23.75 * 3600.0
_AT_ONCE_S = 60.0  # from the first call to Phota's acceptance, if that call was the accepted one

_STATE_OF = {state.stage: state for state in JobState if state.stage}


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job in hand. Ages are in seconds by the database's clock at the claim."""

    id: uuid.UUID
    account_id: uuid.UUID
    state: JobState
    version: int
    attempt: int
    operation: str
    params: dict[str, Any] = field(repr=False)  # with the prompt
    custom_id: str | None
    output: str
    batch_slug: str | None
    client_request_id: str
    is_first_request: bool  # no call can have been charged before this claim
    request_age_s: float
    accepted_age_s: float
    poll_url: str | None
    result_urls: list[str] | None
    estimate_usd: Decimal
    source: dict[str, Any] | None = None
    claimed_in: str = ""  # the transaction of the claim

    @property
    def is_collected_again(self) -> bool:
        """A retry that goes on with the call of an earlier generation, which is or may be paid for."""
        return self.client_request_id != self.id.hex

    def version_of(self, image: str) -> str | None:
        """Which version of that object the job is about; None for the newest, and for what has none."""
        return self._known_of(image, "version_id")

    def etag_of(self, image: str) -> str | None:
        """Of the object as it was when the job was made; None where nobody looked, or where a version says it all."""
        return None if self.version_of(image) else self._known_of(image, "etag")

    def _known_of(self, image: str, name: str) -> str | None:
        source = self.source or {}
        return source.get(name) if source.get("path") == image else None

    @property
    def collecting_age_s(self) -> float:
        """Since Phota accepted it, or a retry asked for it again; since the call where nothing is accepted."""
        return self.accepted_age_s or self.request_age_s

    @property
    def is_start_known(self) -> bool:
        """Whether Phota began when `accepted_age_s` says, and not at an earlier call."""
        return self.request_age_s - self.accepted_age_s < _AT_ONCE_S


@dataclass(frozen=True, slots=True)
class StoredOutput:
    index: int
    bucket: str
    key: str
    content_type: str
    bytes: int
    sha256: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    stage: Stage
    started_at: datetime
    duration_ms: int
    http_status: int | None = None
    request_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """One transition. `due_s`: seconds from now, None for a final state. What is None otherwise stays as it is."""

    id: uuid.UUID
    version: int
    state: JobState
    due_s: float | None
    hold: Hold = Hold.IDLE
    attempt: int = 0
    accepted: bool = False
    remote_job_id: str | None = None
    poll_url: str | None = None
    result_urls: list[str] | None = None
    known_subjects: dict[str, int] | None = None
    cost_usd: Decimal | None = None
    error_code: str | None = None
    error_message: str | None = None
    outputs: tuple[StoredOutput, ...] = field(default=())
    http_status: int | None = None  # of the call that led here, for the record
    request_id: str | None = None
    record: AttemptRecord | None = None


_CLAIM = text(
    """
    WITH claimed AS (
        UPDATE jobs SET hold = 'held', version = version + 1, claims = claims + 1, is_woken = false,
               due_at = now() + make_interval(secs => :lease),
               requested_at = CASE WHEN state = 'submitting' THEN coalesce(requested_at, now()) ELSE requested_at END
        WHERE id = ANY(:ids) AND state = :state AND hold = 'sent'
        RETURNING *
    )
    SELECT claimed.id, claimed.account_id, claimed.state, claimed.version, claimed.attempt, claimed.operation,
           claimed.params, claimed.custom_id, claimed.output, batch.slug AS batch_slug, claimed.client_request_id,
           claimed.requested_at = now() AS is_first_request,
           extract(epoch FROM now() - claimed.requested_at)::float8 AS request_age_s,
           coalesce(extract(epoch FROM now() - claimed.accepted_at), 0)::float8 AS accepted_age_s,
           claimed.poll_url, claimed.result_urls, claimed.estimate_usd, claimed.source,
           pg_current_xact_id()::text AS claimed_in
    FROM claimed LEFT JOIN batches AS batch ON batch.id = claimed.batch_id
    """
)


async def claim(connection: AsyncConnection, stage: Stage, ids: Sequence[uuid.UUID]) -> list[ClaimedJob]:
    """Take those of `ids` that wait for this stage; the others are somebody else's, or done."""
    rows = await connection.execute(_CLAIM, {"ids": list(ids), "state": _STATE_OF[stage], "lease": LEASE_S})
    return [ClaimedJob(**{**row, "state": JobState(row["state"])}) for row in rows.mappings()]


_KEEP = text(
    """
    UPDATE jobs SET due_at = now() + make_interval(secs => :lease)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS int[])) AS mine (id, version)
    WHERE jobs.id = mine.id AND jobs.version = mine.version AND hold = 'held'
    RETURNING jobs.id, extract(epoch FROM now() - requested_at)::float8 AS request_age_s,
              coalesce(extract(epoch FROM now() - accepted_at), 0)::float8 AS accepted_age_s
    """
)


async def keep(connection: AsyncConnection, held: dict[uuid.UUID, int]) -> set[uuid.UUID]:
    """Heartbeat: prolong the lease of everything a process holds, in one statement; the ids of what it still holds."""
    return set(await _kept(connection, held))


async def _kept(connection: AsyncConnection, held: dict[uuid.UUID, int]) -> dict[uuid.UUID, Row[Any]]:
    """What is still held, and how old its calls are by now."""
    rows = await connection.execute(_KEEP, {"ids": list(held), "versions": list(held.values()), "lease": LEASE_S})
    return {row.id: row for row in rows}


# Of a transaction that a crash of the server has undone the id may be one that is still to be given.
_OUTCOME = text(
    """
    SELECT CASE WHEN CAST(:id AS xid8) < pg_current_xact_id()
                THEN pg_xact_status(CAST(:id AS xid8)) ELSE 'aborted' END
    """
)


async def claim_again(
    connection: AsyncConnection, stage: Stage, ids: Sequence[uuid.UUID], unsure: Sequence[ClaimedJob]
) -> list[ClaimedJob] | None:
    """After a claim of `unsure` whose COMMIT had no answer: what it took if it happened, else another claim.

    None: it is still under way at the server. The database may have been away for days: calls are as old as they are
    now.
    """
    outcome = await connection.scalar(_OUTCOME, {"id": unsure[0].claimed_in})
    if outcome == "in progress":
        return None
    if outcome == "committed":
        mine = await _kept(connection, {job.id: job.version for job in unsure})
        return [_aged(job, mine[job.id]) for job in unsure if job.id in mine]
    return await claim(connection, stage, ids)


def _aged(job: ClaimedJob, row: Row[Any]) -> ClaimedJob:
    return replace(job, request_age_s=row.request_age_s, accepted_age_s=row.accepted_age_s)


_MOVE = text(
    f"""
    WITH move AS (
        SELECT * FROM jsonb_to_recordset(:moves) AS m (
            id uuid, version int, state text, due_s float8, hold text, attempt int, accepted boolean,
            remote_job_id text, poll_url text, result_urls jsonb, known_subjects jsonb, cost_usd numeric,
            error_code text, error_message text)
    ), moved AS (
        UPDATE jobs SET
            state = move.state, hold = move.hold, attempt = move.attempt, claims = 0,
            due_at = now() + make_interval(secs => CASE WHEN jobs.is_woken AND move.state = 'running'
                                                             AND move.hold = 'idle' THEN 0 ELSE move.due_s END),
            is_woken = false,
            requested_at = CASE WHEN move.state = 'queued' THEN NULL ELSE requested_at END,
            accepted_at = CASE WHEN move.accepted THEN now() ELSE accepted_at END,
            remote_job_id = coalesce(move.remote_job_id, jobs.remote_job_id),
            poll_url = coalesce(move.poll_url, jobs.poll_url),
            result_urls = coalesce(move.result_urls, jobs.result_urls),
            known_subjects = coalesce(move.known_subjects, jobs.known_subjects),
            cost_usd = coalesce(move.cost_usd, jobs.cost_usd),
            error_code = move.error_code, error_message = move.error_message,
            finished_at = CASE WHEN move.state IN ({quoted(FINAL_STATES)}) THEN now() END
        FROM move WHERE jobs.id = move.id AND jobs.version = move.version AND jobs.hold = 'held'
        RETURNING jobs.id
    ), stored AS (
        INSERT INTO outputs (job_id, index, bucket, key, content_type, bytes, sha256, width, height)
        SELECT o.* FROM jsonb_to_recordset(:outputs) AS o (
            job_id uuid, index int, bucket text, key text, content_type text, bytes bigint, sha256 text,
            width int, height int)
        JOIN moved ON moved.id = o.job_id
    ), recorded AS (
        INSERT INTO attempts (job_id, stage, started_at, duration_ms, http_status, request_id, error_code,
                              error_message)
        SELECT * FROM jsonb_to_recordset(:attempts) AS a (
            job_id uuid, stage text, started_at timestamptz, duration_ms int, http_status int, request_id text,
            error_code text, error_message text)
        WHERE job_id IN (SELECT id FROM moved)
    )
    SELECT id FROM moved
    """
).bindparams(bindparam("moves", type_=JSONB), bindparam("outputs", type_=JSONB), bindparam("attempts", type_=JSONB))


async def record(connection: AsyncConnection, moves: Sequence[Move]) -> set[uuid.UUID]:
    """Write transitions with their outputs and attempts, in one statement; the ids of those that took."""
    rows = await connection.execute(
        _MOVE,
        {
            "moves": [_plain(move) for move in moves],
            "outputs": [{"job_id": str(move.id), **asdict(output)} for move in moves for output in move.outputs],
            "attempts": [
                {"job_id": str(move.id), **asdict(move.record), "started_at": move.record.started_at.isoformat()}
                for move in moves
                if move.record
            ],
        },
    )
    return set(rows.scalars())


def _plain(move: Move) -> dict[str, Any]:
    return {
        "id": str(move.id),
        "version": move.version,
        "state": move.state,
        "due_s": move.due_s,
        "hold": move.hold,
        "attempt": move.attempt,
        "accepted": move.accepted,
        "remote_job_id": move.remote_job_id,
        "poll_url": move.poll_url,
        "result_urls": move.result_urls,
        "known_subjects": move.known_subjects,
        "cost_usd": None if move.cost_usd is None else str(move.cost_usd),
        "error_code": move.error_code,
        "error_message": move.error_message,
    }
