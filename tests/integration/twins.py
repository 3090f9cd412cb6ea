"""The rows in memory (tests/machine) beside those of Postgres: the same calls to both, under one clock that stands."""

import random
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, text

from clients.phota import Handle, Results
from models import admission, claims, controls, dispatch, generations
from models.base import new_id
from models.claims import AttemptRecord, ClaimedJob, Move, StoredOutput
from models.generations import Choice
from models.inserts import BatchRef
from models.lanes import Lane
from models.states import Hold, JobState, Stage
from producer.batches import open_batch
from producer.submission import insert
from tests.integration.conftest import photo
from tests.machine.connection import MemoryConnection
from tests.machine.rows import Batch, Row, Table
from tests.machine.statements import is_fenced
from worker import moves

_BEGAN = datetime(2030, 1, 1, tzinfo=UTC)
_SPANS_S = (0, 1, 2, 5, 31, 61, 61, 70_000)
_UNDONE = 6
_ENDS = ("worker_lost", "expired")
_PRICE = Decimal("0.12")
COLUMNS = [name for name in Row.__dataclass_fields__ if name != "source"]
# `now()` of whatever the statements say: found before the one of Postgres.
_CLOCK = (
    "CREATE SCHEMA clock",
    "CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE "
    "AS $$ SELECT current_setting('clock.now')::timestamptz $$",
)


def clocked(engine: Engine) -> Engine:
    """Connections to the same database whose `now()` is the setting `clock.now`."""
    with engine.begin() as connection:
        for statement in _CLOCK:
            connection.execute(text(statement))
    path = {"options": "-c search_path=clock,public,pg_catalog"}
    return create_engine(engine.url, connect_args=path)


class _Awaited:
    """A connection for functions that await theirs."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def execute(self, statement: Any, values: Any) -> Any:
        return self._connection.execute(statement, values)


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """One that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited")


class Twins:
    """`seen`: how often which call had something to do."""

    def __init__(self, connection: Connection, seed: int) -> None:
        self.real = connection
        self.table = Table()
        self.memory: Any = MemoryConnection(self.table)
        self.chance = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self._claimed: list[ClaimedJob] = []  # by workers that live, or think so
        self._remotes = 0
        self._set_clock()
        self.batch: BatchRef = open_batch(connection, "twins")
        self.table.batches[self.batch.id] = Batch(self.batch.id, slug=self.batch.slug)

    def _set_clock(self) -> None:
        now = _BEGAN + timedelta(seconds=self.table.now)
        self.real.execute(text("SELECT set_config('clock.now', :now, false)"), {"now": now.isoformat()})

    def both(self, name: str, call: Callable[[Any], Any], *, plain: Callable[[Any], Any] = lambda found: found) -> Any:
        """What the real one answers, which has to be what the other answers."""
        real, memory = call(self.real), call(self.memory)
        self.real.commit()
        assert plain(real) == plain(memory), name
        self.seen[name] += bool(real)
        return real

    def compare(self) -> None:
        """Rows."""
        rows = self.real.execute(text("SELECT * FROM jobs")).mappings()
        real = {row["id"]: {name: _number(row[name]) for name in COLUMNS} for row in rows}
        memory = {row.id: {name: _number(getattr(row, name)) for name in COLUMNS} for row in self.table.jobs.values()}
        assert real == memory

    def compare_beside(self) -> None:
        """Outputs, attempts and counts."""
        kept = self.real.execute(text("SELECT job_id, index, bucket, key, sha256 FROM outputs"))
        outputs = {(job_id, index): tuple(rest) for job_id, index, *rest in kept}
        assert outputs == {at: (out.bucket, out.key, out.sha256) for at, out in self.table.outputs.items()}
        tried = self.real.execute(text("SELECT job_id, count(*) FROM attempts GROUP BY job_id"))
        assert dict(map(tuple, tried)) == self.table.attempts
        progress = self.real.execute(text("SELECT * FROM batch_progress")).mappings().one()
        counts = {state.value: self.table.counts.get(state.value) for state in JobState}
        assert {state: progress[state] for state in counts} == {
            state: count.jobs if count else 0 for state, count in counts.items()
        }
        assert (progress["spent_usd"], progress["reserved_usd"]) == (self.table.spent_usd, self.table.reserved_usd)

    def call(self, name: str) -> None:
        """One of those below; there are always some jobs left to do."""
        if sum(not row.is_final for row in self.table.jobs.values()) < _UNDONE:
            self.submit()
        getattr(self, name)()
        self.compare()
        self.seen.update({row.error_code for row in self.table.jobs.values() if row.error_code in _ENDS})

    # What may be done to both

    def submit(self) -> None:
        """A job: made in Postgres, and copied from there."""
        late = _BEGAN + timedelta(seconds=self.table.now + 5)
        expires = {"expires_at": late.isoformat()} if self.chance.random() < 0.3 else {}
        job_id = insert(self.real, [photo(str(len(self.table.jobs)), **expires)], batch=self.batch)[0].id
        self.real.commit()
        row = self.real.execute(text("SELECT * FROM jobs WHERE id = :id"), {"id": job_id}).mappings().one()
        self.table.add(Row(**{name: _number(row[name]) for name in COLUMNS}))

    def advance(self) -> None:
        self.table.now += self.chance.choice(_SPANS_S)
        self._set_clock()

    def admit(self) -> None:
        money = self.chance.choice((None, _PRICE, 2 * _PRICE, 9 * _PRICE))
        lane = Lane(1, self.batch.id, 1, 0, money_usd=money)
        slots = self.chance.randint(1, 3)
        self.both("admit", lambda connection: admission.admit(connection, [(lane, slots)]), plain=set)

    def take_due(self) -> None:
        self.both("take_due", lambda connection: dispatch.take_due(connection, limit=1000), plain=_by_stage)

    def take_retries(self) -> None:
        retries = self.both("take_retries", lambda each: dispatch.take_retries(each, limit=1000), plain=sorted)
        if self.chance.random() < 0.3:
            self.both("forgive", lambda each: dispatch.forgive(each, retries, younger_than_s=40.0))

    def take_lost(self) -> None:
        stage = self._stage()
        self.both("take_lost", lambda each: dispatch.take_lost(each, stage, limit=1000), plain=sorted)

    def unsend(self) -> None:
        ids = [self.chance.choice(list(self.table.jobs))]
        self.both("unsend", lambda connection: dispatch.unsend(connection, ids))

    def fail_poison(self) -> None:
        """With a limit of its own, or it would hardly be reached."""
        limit = {"limit": self.chance.choice((1, 2, dispatch.MAX_CLAIMS))}
        self.both("fail_poison", lambda connection: connection.execute(dispatch._POISON, limit), plain=lambda _: None)

    def expire(self) -> None:
        now: Any = _BEGAN + timedelta(seconds=self.table.now)
        admission.expire(self.real, now)
        self.real.commit()
        admission.expire(self.memory, self.table.now)  # type: ignore[arg-type]

    def claim(self) -> None:
        """Mostly of what was sent; a message may be old, doubled, or for another stage."""
        sent = [row for row in self.table.jobs.values() if row.hold == "sent"]
        known = [row.id for row in sent] if sent and self.chance.random() < 0.8 else list(self.table.jobs)
        ids = self.chance.sample(known, min(len(known), 3))
        stage = JobState(self.table.jobs[ids[0]].state).stage or Stage.SUBMIT
        jobs = self.both("claim", lambda each: _run(claims.claim(_Awaited(each), stage, ids)), plain=_by_id)  # type: ignore[arg-type]
        self._claimed = (self._claimed + jobs)[-16:]

    def keep(self) -> None:
        held = {job.id: job.version - self.chance.choice((0, 0, 1)) for job in self._claimed}
        if held:
            self.both("keep", lambda each: _run(claims.keep(_Awaited(each), held)))  # type: ignore[arg-type]

    def record(self) -> None:
        """Also by those who have lost their lease, and by one who writes twice."""
        mine = [job for job in self._claimed if is_fenced(self.table.jobs[job.id], {"version": job.version})]
        able = mine if self.chance.random() < 0.7 else self._claimed
        jobs = {job.id: job for job in self.chance.sample(able, min(len(able), 2))}
        written = [self._move(job) for job in jobs.values()]
        if not written:
            return
        took = self.both("record", lambda each: _run(claims.record(_Awaited(each), written)))  # type: ignore[arg-type]
        self.seen["refused"] += len(took) < len(written)
        for move in written:
            self.seen[f"to {move.state}"] += move.id in took
            if move.hold is Hold.HELD and move.id in took:
                self._claimed.remove(jobs[move.id])
                self._claimed.append(replace(jobs[move.id], state=move.state, attempt=0, result_urls=move.result_urls))

    def wake(self) -> None:
        running = [row.remote_job_id for row in self.table.jobs.values() if row.state == "running"]
        remote = self.chance.choice(running or ["r0"]) or "r0"
        self.both("wake", lambda connection: dispatch.wake_by_remote_id(connection, remote))

    def retry(self) -> None:
        """One, or the order of several would be Postgres' own."""
        choice = Choice(self.chance.choice((None, None, "no")), self.chance.random() < 0.3, known_for_s=80_000)
        after = self.chance.choice((uuid.UUID(int=0), *self.table.jobs))
        call: Any = lambda each: generations.supersede(each, self.batch.id, choice, after=after, bite=1)  # noqa: E731
        for old in self.both("retry", call):
            next_id = new_id()
            self.seen[f"retry {old.fate}"] += 1
            for each in (self.real, self.memory):
                generations.insert_generations(each, [(next_id, old)], pay_again=choice.pay_again)
            self.real.commit()

    def cancel(self) -> None:
        self.both("cancel", lambda connection: controls.cancel(connection, self.batch.id))

    def _stage(self) -> Stage:
        return self.chance.choice((Stage.SUBMIT, Stage.POLL, Stage.STORE))

    def _move(self, job: ClaimedJob) -> Move:
        move = self.chance.choice(_MOVES[job.state])(self, job)
        if self.chance.random() < 0.5:
            return move
        return replace(move, record=AttemptRecord(Stage.SUBMIT, _BEGAN, 5))

    def _submitted(self, job: ClaimedJob) -> Move:
        self._remotes += 1
        handle = Handle(f"r{self._remotes}", f"https://phota/jobs/r{self._remotes}")
        return moves.submitted(job, handle, look_in_s=5.0)

    def _ready(self, job: ClaimedJob) -> Move:
        return moves.ready(job, Results(["https://cdn/1"], [], {}), cost_usd=_PRICE)

    def _stored(self, job: ClaimedJob) -> Move:
        output = StoredOutput(0, "done", f"{job.id}-{job.version}.jpg", "image/jpeg", 3, f"{job.version:064x}", 1, 1)
        return moves.stored(job, (output,))

    def _snoozed(self, job: ClaimedJob) -> Move:
        return moves.snooze(job, self.chance.choice((0.0, 2.5, 15.0)), code="throttled")

    def _retried(self, job: ClaimedJob) -> Move:
        return moves.retry(job, 2.5, code="timeout", message="no answer", is_uncalled=self.chance.random() < 0.5)

    def _failed(self, job: ClaimedJob) -> Move:
        return moves.fail(job, code="no", message="no", may_be_charged=self.chance.random() < 0.7)

    def _rejected(self, job: ClaimedJob) -> Move:
        return moves.reject(job, code="no", message="no")

    def _handed_back(self, job: ClaimedJob) -> Move:
        return moves.hand_back(job)

    def _refetched(self, job: ClaimedJob) -> Move:
        return moves.refetch(job, 2.5, code="result_expired", message="gone")


_MOVES: dict[JobState, tuple[Callable[[Twins, ClaimedJob], Move], ...]] = {
    JobState.SUBMITTING: (
        *(Twins._submitted,) * 4,
        Twins._ready,
        Twins._snoozed,
        Twins._retried,
        Twins._failed,
        Twins._rejected,
        Twins._handed_back,
    ),
    JobState.RUNNING: (
        *(Twins._ready,) * 3,
        Twins._snoozed,
        *(Twins._failed,) * 2,
        Twins._rejected,
        Twins._handed_back,
    ),
    JobState.STORING: (Twins._stored, Twins._stored, Twins._snoozed, Twins._refetched, *(Twins._failed,) * 2),
}


def _number(value: Any) -> Any:
    """Moments as seconds of the clock, to a millisecond."""
    if isinstance(value, datetime):
        value = (value - _BEGAN).total_seconds()
    return round(value, 3) if isinstance(value, float) else value


def _by_stage(found: Any) -> Any:
    return {stage: sorted(ids) for stage, ids in found.items()}


def _by_id(jobs: list[ClaimedJob]) -> dict[uuid.UUID, dict[str, Any]]:
    names = [name for name in ClaimedJob.__dataclass_fields__ if name != "claimed_in"]
    return {job.id: {name: _number(getattr(job, name)) for name in names} for job in jobs}
