"""Counts of a batch, its end, and the events of both."""

import random
from decimal import Decimal

from sqlalchemy import Engine, text

from clients.phota_requests import Problem
from models import settle
from models.claims import Move, record
from models.inserts import BatchRef
from models.progress import BatchView, read_batch
from models.states import BatchStatus, JobState, Stage
from producer.batches import cancel_batch, close_batch
from producer.submission import insert_rejected
from tests.integration.conftest import Run, add_batch, admit_all, claimed


def view(engine: Engine, batch: BatchRef) -> BatchView:
    with engine.connect() as connection:
        found = read_batch(connection, batch.id)
    assert found is not None
    return found


def fold_and_settle(engine: Engine, batch: BatchRef) -> None:
    with engine.begin() as connection:
        settle.fold_counts(connection)
        settle.settle(connection, [batch.id])


def finish(engine: Engine, run: Run, *states: JobState) -> None:
    jobs = claimed(run, Stage.SUBMIT, admit_all(engine))
    cost = Decimal("0.12")
    moves = [
        Move(job.id, job.version, state, None, cost_usd=cost if state is JobState.SUCCEEDED else None)
        for job, state in zip(jobs, states, strict=True)
    ]
    run(lambda connection: record(connection, moves))


def events(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT type FROM deliveries ORDER BY created_at, type")).scalars())


def test_counts_add_up_before_and_after_folding(engine: Engine, run: Run) -> None:
    batch = add_batch(engine, 3)
    finish(engine, run, JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED)
    before = view(engine, batch)
    fold_and_settle(engine, batch)
    assert view(engine, batch).counts == before.counts
    assert before.counts | {"succeeded": 2, "failed": 1, "queued": 0, "total": 3} == before.counts
    assert before.spent_usd == Decimal("0.24")


def test_what_is_in_flight_is_reserved(engine: Engine) -> None:
    batch = add_batch(engine, 5)
    admit_all(engine, slots=2)
    assert view(engine, batch).reserved_usd == Decimal("0.24")


def test_counts_equal_the_table_after_any_mix(engine: Engine, run: Run) -> None:
    batch = add_batch(engine, 40)
    source = random.Random(7)
    for _ in range(8):
        jobs = claimed(run, Stage.SUBMIT, admit_all(engine, slots=source.randint(1, 6)))
        states = [source.choice([JobState.QUEUED, JobState.FAILED, JobState.RUNNING]) for _ in jobs]
        moves = [
            Move(job.id, job.version, state, None if state.is_final else 0.0)
            for job, state in zip(jobs, states, strict=True)
        ]
        run(lambda connection, moves=moves: record(connection, moves))
        if source.random() < 0.5:
            fold_and_settle(engine, batch)
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT state, count(*) AS n FROM jobs GROUP BY state"))
            table = {row.state: row.n for row in rows}
        assert {state: n for state, n in view(engine, batch).counts.items() if n} == table | {"total": 40}


def test_an_open_batch_does_not_end(engine: Engine, run: Run) -> None:
    batch = add_batch(engine, 1)
    finish(engine, run, JobState.SUCCEEDED)
    fold_and_settle(engine, batch)
    assert not view(engine, batch).status.is_final


def ended(engine: Engine, run: Run, *states: JobState) -> BatchStatus:
    batch = add_batch(engine, len(states))
    finish(engine, run, *states)
    with engine.begin() as connection:
        close_batch(connection, batch)
    fold_and_settle(engine, batch)
    return view(engine, batch).status


def test_completed_means_that_every_job_succeeded(engine: Engine, run: Run) -> None:
    assert ended(engine, run, JobState.SUCCEEDED, JobState.SUCCEEDED) is BatchStatus.COMPLETED


def test_one_failure_shows_in_the_status(engine: Engine, run: Run) -> None:
    assert ended(engine, run, JobState.SUCCEEDED, JobState.FAILED) is BatchStatus.COMPLETED_WITH_ERRORS


def test_a_batch_of_failures_is_failed(engine: Engine, run: Run) -> None:
    assert ended(engine, run, JobState.REJECTED, JobState.FAILED) is BatchStatus.FAILED


def test_cancel_leaves_what_may_be_paid_for(engine: Engine, run: Run) -> None:
    batch = add_batch(engine, 4)
    claimed(run, Stage.SUBMIT, admit_all(engine, slots=1))
    admit_all(engine, slots=1)  # sent, but nobody has it yet
    with engine.begin() as connection:
        assert cancel_batch(connection, batch.id)
    counts = view(engine, batch).counts
    assert (counts["cancelled"], counts["submitting"]) == (3, 1)
    assert view(engine, batch).status is BatchStatus.CANCELLING


def test_a_batch_tells_of_its_start_and_end_once(engine: Engine, run: Run) -> None:
    batch = add_batch(engine, 1, webhook_url="http://127.0.0.1:1/")
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET started_at = now()"))
    finish(engine, run, JobState.SUCCEEDED)
    with engine.begin() as connection:
        close_batch(connection, batch)
    fold_and_settle(engine, batch)
    fold_and_settle(engine, batch)
    assert events(engine) == ["batch.started", "batch.completed"]


def test_job_events_come_when_asked_for_by_name(engine: Engine, run: Run) -> None:
    add_batch(engine, 2, webhook_url="http://127.0.0.1:1/", webhook_events=["job.failed"])
    finish(engine, run, JobState.SUCCEEDED, JobState.FAILED)
    assert events(engine) == ["job.failed"]


def test_a_job_that_is_rejected_at_the_door_is_counted(engine: Engine) -> None:
    batch = add_batch(engine, 1)
    with engine.begin() as connection:
        problem = Problem("image", "missing", "image: is missing")
        insert_rejected(connection, operation="enhance", params={"a": "\0"}, problem=problem, batch=batch)
    assert view(engine, batch).counts["rejected"] == 1
    assert view(engine, batch).errors == [{"code": "missing", "message": "image: is missing", "count": 1}]
