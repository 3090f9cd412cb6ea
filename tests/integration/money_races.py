"""People, producers, workers and a dispatcher at the same batches at once, and what has to hold meanwhile."""

import asyncio
import queue
import random
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from sqlalchemy import Connection, Engine, text

from models import dispatch, settle
from models.claims import ClaimedJob, Move, claim, record
from models.engine import new_async_engine
from models.inserts import BatchRef
from models.money import fold_spending
from models.states import JobState, Stage
from producer.batches import (
    BatchError,
    BatchLimits,
    cancel_batch,
    close_batch,
    open_batch,
    pause_batch,
    resume_batch,
    retry_batch,
)
from producer.content import with_content
from producer.submission import BatchClosed, insert
from settings import Settings
from tests.integration.conftest import photo
from worker.admit import admit

CONTENTS = 60
LIVELY = 6  # batches that are worked at
_STEP = Decimal("0.60")

_IN_TIME = text(
    "UPDATE jobs SET due_at = now() WHERE id IN "
    "(SELECT id FROM jobs WHERE state IN ('queued', 'running', 'submitting') AND hold = 'idle' AND due_at > now() "
    "FOR UPDATE SKIP LOCKED)"
)


class Commotion:
    """Everybody at once until `stop`; `sent` is the broker."""

    def __init__(self, engine: Engine, url: str, seed: int) -> None:
        self.engine = engine
        self.batches: list[BatchRef] = []
        self.stopping = threading.Event()  # for those who make work
        self.done = threading.Event()  # for those who do it
        self.sent: queue.Queue[tuple[Stage, list[uuid.UUID]]] = queue.Queue()
        self._url = url
        self._seed = seed

    def start(self, pool: ThreadPoolExecutor) -> None:
        """Raises in `result()` of nobody: whoever fails ends the test by `failed`."""
        actors: list[tuple[Callable[[random.Random], None], threading.Event]] = [
            (self._produce, self.stopping),
            (self._produce, self.stopping),
            (self._interfere, self.stopping),
            (self._dispatch, self.done),
        ]
        self.running = [
            pool.submit(self._repeat, act, event, random.Random(self._seed + number))
            for number, (act, event) in enumerate(actors)
        ]
        self.running += [pool.submit(self._work, random.Random(self._seed + number)) for number in (10, 11)]

    def check_alive(self) -> None:
        """Raise what an actor died of."""
        for each in self.running:
            if each.done():
                each.result()

    def _repeat(self, act: Callable[[random.Random], None], until: threading.Event, source: random.Random) -> None:
        while not until.is_set():
            act(source)
            until.wait(source.uniform(0.0, 0.01))

    def _produce(self, source: random.Random) -> None:
        """Some of the same few contents, into a batch of many, or alone."""
        batch = self._batch(source) if source.random() < 0.9 else None
        is_redo = batch is not None and source.random() < 0.2
        picked = source.sample(range(CONTENTS), source.randint(1, 8))
        twice = picked + picked[:2]
        jobs = [with_content(photo(), [f"sha256:{number}"], is_redo=is_redo) for number in twice]
        try:
            with self.engine.begin() as connection:
                insert(connection, jobs, batch=batch)
        except BatchClosed:
            pass

    def _batch(self, source: random.Random) -> BatchRef:
        """A new one now and then; the oldest of those that are worked at takes no more jobs then."""
        if len(self.batches) >= LIVELY and source.random() < 0.9:
            return source.choice(self.batches[-LIVELY:])
        limits = BatchLimits(budget_usd=None if source.random() < 0.3 else _STEP)
        with self.engine.begin() as connection:
            batch = open_batch(connection, "race", limits=limits)
            for old in self.batches[-LIVELY : -LIVELY + 1]:
                close_batch(connection, old)
        self.batches.append(batch)
        return batch

    def _interfere(self, source: random.Random) -> None:
        """What people do."""
        if not self.batches:
            return
        batch = source.choice(self.batches)
        try:
            with self.engine.begin() as connection:
                match source.choices(["pause", "resume", "more", "retry", "cancel"], [4, 6, 3, 4, 0.3])[0]:
                    case "pause":
                        pause_batch(connection, batch.id)
                    case "resume":
                        resume_batch(connection, batch.id)
                    case "more":
                        _raise_budget(connection, batch)
                    case "retry":
                        retry_batch(connection, batch.id, pay_again=source.random() < 0.3)
                    case "cancel":
                        cancel_batch(connection, batch.id)
        except BatchError:
            pass

    def _dispatch(self, source: random.Random) -> None:
        """As the leading dispatcher does, but what waits for its like, or for a second call, is due at once."""
        with self.engine.begin() as connection:
            connection.execute(_IN_TIME)
        with self.engine.begin() as connection:
            due = dispatch.take_due(connection, limit=100)
            due.setdefault(Stage.SUBMIT, []).extend(admit(connection, Settings(concurrency=source.randint(4, 20))))
        for stage, ids in due.items():
            self.sent.put((stage, ids))
        with self.engine.begin() as connection:
            changed = settle.fold_counts(connection) | settle.closed_batches(connection)
            fold_spending(connection)
            settle.start(connection, changed)
            settle.settle(connection, changed)

    def _work(self, source: random.Random) -> None:
        asyncio.run(self._work_on(source))

    async def _work_on(self, source: random.Random) -> None:
        engine = new_async_engine(self._url, connections=1)
        try:
            while not self.done.is_set():
                try:
                    stage, ids = self.sent.get(timeout=0.02)
                except queue.Empty:
                    continue
                async with engine.begin() as connection:
                    jobs = await claim(connection, stage, ids)
                await asyncio.sleep(source.uniform(0.0, 0.01))
                async with engine.begin() as connection:
                    await record(connection, [outcome(job, source, is_calm=self.stopping.is_set()) for job in jobs])
        finally:
            await engine.dispose()

    def calm(self) -> None:
        """Nobody makes work any more, nothing holds it back, and every batch is complete."""
        with self.engine.begin() as connection:
            connection.execute(text("UPDATE accounts SET budget_day_usd = NULL"))
            connection.execute(text("UPDATE batches SET paused_at = NULL, paused_reason = NULL, budget_usd = NULL"))
            for batch in self.batches:
                close_batch(connection, batch)


def _raise_budget(connection: Connection, batch: BatchRef) -> None:
    budget = connection.scalar(text("SELECT budget_usd FROM batches WHERE id = :id FOR UPDATE"), {"id": batch.id})
    if budget is not None:
        resume_batch(connection, batch.id, budget_usd=budget + _STEP)


def outcome(job: ClaimedJob, source: random.Random, *, is_calm: bool) -> Move:
    """Done at a lower cost, not executed, failed for nothing, or failed though it was, or may have been, charged."""
    kind = "done" if is_calm else source.choices(["done", "later", "free", "paid", "perhaps"], [6, 2, 2, 1, 1])[0]
    if kind == "later" and job.is_first_request and job.state is JobState.SUBMITTING:
        return Move(job.id, job.version, JobState.QUEUED, 0.0)
    if kind == "paid":
        found = {"remote_job_id": job.id.hex, "poll_url": f"https://phota/{job.id}"}
        return Move(job.id, job.version, JobState.FAILED, None, error_code="bad", cost_usd=job.estimate_usd, **found)
    if kind == "perhaps":
        return Move(job.id, job.version, JobState.FAILED, None, error_code="gone", cost_usd=job.estimate_usd)
    if kind == "free":
        return Move(job.id, job.version, JobState.FAILED, None, error_code="no")
    return Move(job.id, job.version, JobState.SUCCEEDED, None, cost_usd=Decimal("0.10"))


_OWN = "content_key IS NOT NULL AND client_request_id = replace(id::text, '-', '')"
VIOLATIONS = {
    "of one content two calls are in flight": f"""
        SELECT content_key, count(*) FROM jobs WHERE {_OWN} AND state IN ('submitting', 'running', 'storing')
        GROUP BY 1 HAVING count(*) > 1""",
    "of one content two calls succeeded": f"""
        SELECT content_key, count(*) FROM jobs WHERE {_OWN} AND state = 'succeeded'
        GROUP BY 1, CASE WHEN is_redo THEN batch_id END HAVING count(*) > 1""",
    "of one content two calls are, or may be, paid for though nobody said so": """
        SELECT job.content_key, count(*) FROM jobs AS job
        JOIN jobs AS called ON replace(called.id::text, '-', '') = job.client_request_id
        WHERE job.superseded_at IS NULL AND NOT called.is_redo AND NOT called.is_paid_again
          AND (job.cost_usd IS NOT NULL OR job.state IN ('submitting', 'running', 'storing'))
        GROUP BY 1 HAVING count(*) > 1""",
    "a job is skipped that nobody has done": """
        SELECT job.id FROM jobs AS job LEFT JOIN jobs AS done ON done.id = job.same_as
        WHERE job.state = 'skipped'
          AND (done.state, done.content_key) IS DISTINCT FROM ('succeeded', job.content_key)""",
    "a budget is exceeded": """
        SELECT batch_id, budget_usd, spent_usd, reserved_usd FROM batch_progress
        WHERE spent_usd + reserved_usd > budget_usd""",
    "the account's budget is exceeded": """
        SELECT account.budget_day_usd, sum(usd) FROM accounts AS account CROSS JOIN (
            SELECT usd FROM account_days UNION ALL SELECT usd FROM account_deltas) AS known
        GROUP BY 1 HAVING sum(usd) > account.budget_day_usd""",
    "the account's money is not that of its jobs": """
        SELECT known.usd, real.usd FROM
            (SELECT coalesce(sum(usd), 0) AS usd FROM
                (SELECT usd FROM account_days UNION ALL SELECT usd FROM account_deltas) AS each) AS known,
            (SELECT coalesce(sum(coalesce(cost_usd, 0) + CASE WHEN state IN ('submitting', 'running')
                THEN estimate_usd ELSE 0 END), 0) AS usd FROM jobs) AS real
        WHERE known.usd <> real.usd""",
    "counts do not add up": """
        SELECT progress.batch_id, progress.total, real.jobs, progress.spent_usd, real.usd
        FROM batch_progress AS progress JOIN LATERAL (
            SELECT count(*) FILTER (WHERE superseded_at IS NULL) AS jobs, coalesce(sum(cost_usd), 0) AS usd,
                   count(*) FILTER (WHERE superseded_at IS NULL AND state = 'queued') AS queued
            FROM jobs WHERE batch_id = progress.batch_id
        ) AS real ON (progress.total, progress.queued, progress.spent_usd) <> (real.jobs, real.queued, real.usd)""",
}


def violations(engine: Engine) -> dict[str, Sequence[object]]:
    """All of one snapshot."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        found = {name: connection.execute(text(query)).all() for name, query in VIOLATIONS.items()}
    return {name: rows for name, rows in found.items() if rows}


def count_unfinished(engine: Engine) -> tuple[int, int]:
    """Jobs, and batches."""
    with engine.connect() as connection:
        jobs = connection.scalar(text("SELECT count(*) FROM jobs WHERE finished_at IS NULL"))
        batches = connection.scalar(text("SELECT count(*) FROM batches WHERE finished_at IS NULL"))
    return int(jobs or 0), int(batches or 0)
