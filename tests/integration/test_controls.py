"""Pause, resume, cancel: what they stop, what goes on, and what they refuse."""

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text

from models import settle
from models.inserts import BatchRef
from models.progress import BatchView, read_batch
from models.states import BatchStatus, Stage
from producer.batches import (
    BatchCancelled,
    BatchFinished,
    BatchLimits,
    BudgetReached,
    Cancelled,
    NoSuchBatch,
    cancel_batch,
    close_batch,
    open_batch,
    pause_batch,
    resume_batch,
    retry_batch,
)
from producer.submission import insert
from settings import Settings
from tests.integration.conftest import Run, add_batch, admit_all, claimed, photo
from worker.admit import admit


def view(engine: Engine, batch: BatchRef) -> BatchView:
    with engine.connect() as connection:
        found = read_batch(connection, batch.id)
    assert found is not None
    return found


def do(engine: Engine, control: Callable[..., Any], batch: BatchRef, **options: Any) -> Any:
    with engine.begin() as connection:
        return control(connection, batch.id, **options)


def tick(engine: Engine, concurrency: int = 10) -> int:
    """One admission of the dispatcher; how many jobs it let in."""
    with engine.begin() as connection:
        return len(admit(connection, Settings(concurrency=concurrency)))


def without_money(engine: Engine, budget: str = "0.20") -> BatchRef:
    """Four jobs of 0.12 USD, paused because the budget covers one, which is spent."""
    batch = add_batch(engine, 4, budget_usd=Decimal(budget))
    tick(engine)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE jobs SET state = 'failed', due_at = NULL, finished_at = now(), cost_usd = 0.12 "
                "WHERE state = 'submitting'"
            )
        )
    tick(engine)
    return batch


def finished(engine: Engine) -> BatchRef:
    batch = add_batch(engine, 1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'rejected', due_at = NULL, finished_at = now()"))
        close_batch(connection, batch)
    with engine.begin() as connection:
        settle.settle(connection, [batch.id])
    return batch


def test_a_paused_batch_is_passed_over_until_it_is_resumed(engine: Engine) -> None:
    batch = add_batch(engine, 3)
    do(engine, pause_batch, batch)
    assert (view(engine, batch).status, view(engine, batch).paused_reason) == (BatchStatus.PAUSED, "user")
    assert tick(engine) == 0
    do(engine, resume_batch, batch)
    assert view(engine, batch).paused_reason is None
    assert tick(engine) == 3


def test_what_is_in_flight_is_collected_while_paused(engine: Engine, run: Run) -> None:
    batch = add_batch(engine, 3)
    ids = admit_all(engine, slots=1)
    do(engine, pause_batch, batch)
    assert len(claimed(run, Stage.SUBMIT, ids)) == 1


def test_pausing_twice_and_resuming_twice_are_no_fault(engine: Engine) -> None:
    batch = add_batch(engine)
    for control in (pause_batch, pause_batch, resume_batch, resume_batch):
        do(engine, control, batch)
    assert view(engine, batch).status is BatchStatus.OPEN


def test_pausing_keeps_the_reason_that_is_there(engine: Engine) -> None:
    batch = without_money(engine)
    do(engine, pause_batch, batch)
    assert view(engine, batch).paused_reason == "budget"


def test_a_reached_budget_is_told_in_figures(engine: Engine) -> None:
    batch = without_money(engine)
    with pytest.raises(BudgetReached) as refused:
        do(engine, resume_batch, batch)
    error = refused.value
    assert (error.budget_usd, error.used_usd, error.next_usd) == (Decimal("0.20"), Decimal("0.12"), Decimal("0.12"))
    assert "at least $0.24" in str(error)
    assert view(engine, batch).paused_reason == "budget"


def test_a_new_budget_must_cover_the_next_job(engine: Engine) -> None:
    batch = without_money(engine)
    with pytest.raises(BudgetReached):
        do(engine, resume_batch, batch, budget_usd=Decimal("0.23"))
    assert view(engine, batch).budget_usd == Decimal("0.20")
    do(engine, resume_batch, batch, budget_usd=Decimal("0.24"))
    assert view(engine, batch).budget_usd == Decimal("0.24")
    assert tick(engine) == 1


def test_the_next_job_is_that_of_the_first_band(engine: Engine) -> None:
    with engine.begin() as connection:
        batch = open_batch(connection, "mixed", limits=BatchLimits(budget_usd=Decimal("0.20")))
        dear = {"params": {"image": "s3://photos/1.jpg", "num_output_images": 4}, "priority": "interactive"}
        insert(connection, [photo("cheap"), photo("dear", **dear)], batch=batch)
        connection.execute(text("UPDATE batches SET paused_at = now(), paused_reason = 'budget'"))
    with pytest.raises(BudgetReached) as refused:
        do(engine, resume_batch, batch)
    assert refused.value.next_usd == Decimal("0.48")


@pytest.mark.parametrize("budget", ["-1", "NaN", "Infinity", "100000000"])
def test_a_budget_that_is_none_is_refused(engine: Engine, budget: str) -> None:
    batch = add_batch(engine)
    with pytest.raises(ValueError, match="budget_usd"):
        do(engine, resume_batch, batch, budget_usd=Decimal(budget))


def test_cancel_tells_what_is_still_collected(engine: Engine, run: Run) -> None:
    batch = add_batch(engine, 5)
    claimed(run, Stage.SUBMIT, admit_all(engine, slots=2))
    admit_all(engine, slots=1)  # sent, but nobody has it yet
    assert do(engine, cancel_batch, batch) == Cancelled(cancelled=3, in_flight=2)
    assert do(engine, cancel_batch, batch) == Cancelled(cancelled=0, in_flight=2)


def test_cancel_does_not_wait_for_a_job_that_is_being_claimed(engine: Engine) -> None:
    batch = add_batch(engine, 2)
    admit_all(engine, slots=1)
    with engine.connect() as worker:
        worker.execute(text("SELECT FROM jobs WHERE state = 'submitting' FOR UPDATE"))
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
            assert cancel_batch(connection, batch.id) == Cancelled(cancelled=1, in_flight=1)


@pytest.mark.parametrize("control", [pause_batch, resume_batch, cancel_batch])
def test_a_batch_that_has_ended_is_left_alone(engine: Engine, control: Callable[..., Any]) -> None:
    batch = finished(engine)
    with pytest.raises(BatchFinished, match="failed"):
        do(engine, control, batch)


@pytest.mark.parametrize("control", [pause_batch, resume_batch, retry_batch])
def test_a_cancelled_batch_stays_cancelled(engine: Engine, control: Callable[..., Any]) -> None:
    batch = add_batch(engine)
    do(engine, cancel_batch, batch)
    with pytest.raises(BatchCancelled):
        do(engine, control, batch)


@pytest.mark.parametrize("control", [pause_batch, resume_batch, cancel_batch, retry_batch])
def test_an_unknown_batch_is_named_so(engine: Engine, control: Callable[..., Any]) -> None:
    with engine.begin() as connection, pytest.raises(NoSuchBatch):
        control(connection, uuid.uuid4())


def test_a_batch_tells_that_it_was_paused(engine: Engine) -> None:
    batch = add_batch(engine, webhook_url="http://127.0.0.1:1/")
    do(engine, pause_batch, batch)
    do(engine, resume_batch, batch)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT type FROM deliveries")).scalars().all() == ["batch.paused"]
