"""Who is admitted: limit, budget, fairness, time."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from models import admission, dispatch, lanes
from models.controls import hold_batch
from models.states import Priority, Stage
from producer.batches import BatchLimits, cancel_batch, open_batch, pause_batch, resume_batch
from producer.submission import insert
from settings import Settings
from tests.integration.conftest import Run, add_batch, admit_all, claimed, photo
from worker.admit import admit

JOB_USD = Decimal("0.12")
Change = Callable[[Connection, uuid.UUID], object]


def admitted(engine: Engine, concurrency: int) -> dict[str, int]:
    """One admission with a fixed limit; how many jobs of each batch are in flight after it."""
    with engine.begin() as connection:
        admit(connection, Settings(concurrency=concurrency))
        rows = connection.execute(
            text(
                "SELECT coalesce(batches.name, 'alone'), count(*) FROM jobs LEFT JOIN batches "
                "ON batches.id = batch_id WHERE state = 'submitting' GROUP BY 1"
            )
        )
        return {row[0]: row[1] for row in rows}


def pause(connection: Connection, batch_id: uuid.UUID) -> None:
    """As a person would."""
    values = {"id": batch_id}
    connection.execute(text("UPDATE batches SET paused_at = now(), paused_reason = 'by hand' WHERE id = :id"), values)


def named(engine: Engine, name: str, jobs: int, priority: Priority = Priority.NORMAL) -> None:
    with engine.begin() as connection:
        batch = open_batch(connection, name, priority=priority)
        insert(connection, [photo(str(number)) for number in range(jobs)], batch=batch)


def test_the_limit_holds_over_many_ticks(engine: Engine) -> None:
    add_batch(engine, 20)
    assert admitted(engine, 5) == {"test": 5}
    assert admitted(engine, 5) == {"test": 5}


def test_a_small_batch_passes_a_big_one(engine: Engine) -> None:
    named(engine, "big", 50)
    assert admitted(engine, 7) == {"big": 7}
    named(engine, "small", 3)
    assert admitted(engine, 11) == {"big": 7, "small": 3}  # one of eight or more is kept for interactive jobs


def test_a_slot_is_kept_for_who_waits_at_the_screen(engine: Engine) -> None:
    named(engine, "big", 50)
    assert admitted(engine, 32) == {"big": 30}
    named(engine, "now", 10, Priority.INTERACTIVE)
    assert admitted(engine, 32) == {"big": 30, "now": 2}


def test_priority_goes_first_and_leaves_the_rest(engine: Engine) -> None:
    named(engine, "bulk", 10, Priority.BULK)
    named(engine, "now", 2, Priority.INTERACTIVE)
    assert admitted(engine, 5) == {"now": 2, "bulk": 3}


def test_jobs_of_no_batch_are_a_lane_of_their_own(engine: Engine) -> None:
    named(engine, "big", 50)
    with engine.begin() as connection:
        insert(connection, [photo(), photo()])
    assert admitted(engine, 4) == {"big": 2, "alone": 2}


def test_a_budget_is_never_overspent(engine: Engine) -> None:
    add_batch(engine, 20, budget_usd=Decimal("1.00"))
    assert admitted(engine, 15) == {"test": 8}  # 8 × 0.12 = 0.96
    assert admitted(engine, 15) == {"test": 8}


def test_a_batch_without_money_pauses_with_the_reason(engine: Engine) -> None:
    add_batch(engine, 2, budget_usd=Decimal("0.10"))
    assert admitted(engine, 5) == {}
    with engine.connect() as connection:
        assert connection.execute(text("SELECT status, paused_reason FROM batches")).one() == ("paused", "budget")


def test_a_paused_batch_waits(engine: Engine) -> None:
    batch = add_batch(engine, 2)
    with engine.begin() as connection:
        pause(connection, batch.id)
    assert admitted(engine, 5) == {}


@pytest.mark.parametrize(
    "change",
    [pause_batch, cancel_batch, lambda connection, batch_id: resume_batch(connection, batch_id, budget_usd=JOB_USD)],
)
def test_what_a_person_does_meanwhile_is_seen_by_the_tick_under_way(engine: Engine, change: Change) -> None:
    batch = add_batch(engine, 3, budget_usd=Decimal("1.00"))
    with engine.begin() as leader:
        waiting = lanes.waiting_lanes(leader, {})
        with engine.begin() as person:
            change(person, batch.id)
        assert admission.admit(leader, [(lane, 9) for lane in waiting]) == []


def test_a_pause_waits_for_the_tick_that_admits(engine: Engine) -> None:
    batch = add_batch(engine, 3)
    with engine.begin() as leader, engine.connect() as person:
        assert len(admit(leader, Settings(concurrency=2))) == 2
        person.execute(text("SET lock_timeout = '50ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            pause_batch(person, batch.id)


def test_a_batch_that_is_held_for_long_holds_up_no_other(engine: Engine) -> None:
    held = add_batch(engine, 3)
    named(engine, "other", 3)
    with engine.begin() as person:
        hold_batch(person, held.id)
        assert admitted(engine, 1) == {"other": 1}


def test_a_batch_that_waits_for_its_own_money_holds_up_no_other(engine: Engine) -> None:
    add_batch(engine, 3, budget_usd=Decimal("0.20"))
    assert admitted(engine, 1) == {"test": 1}
    named(engine, "other", 3)
    assert admitted(engine, 2) == {"test": 1, "other": 1}
    assert admitted(engine, 3) == {"test": 1, "other": 2}


def test_nothing_starts_before_its_time(engine: Engine) -> None:
    with engine.begin() as connection:
        insert(connection, [photo(not_before=(datetime.now(UTC) + timedelta(hours=1)).isoformat())])
    assert admitted(engine, 5) == {}


def test_what_waited_too_long_expires(engine: Engine) -> None:
    with engine.begin() as connection:
        insert(connection, [photo(expires_at=(datetime.now(UTC) - timedelta(seconds=1)).isoformat())])
    assert admitted(engine, 5) == {}
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT state FROM jobs")) == "expired"


def test_a_silent_claim_is_sent_again_and_too_many_end_the_job(engine: Engine, run: Run) -> None:
    add_batch(engine, 1)
    ids = admit_all(engine)
    for _ in range(dispatch.MAX_CLAIMS):
        assert claimed(run, Stage.SUBMIT, ids)
        with engine.begin() as connection:
            connection.execute(text("UPDATE jobs SET due_at = now() - interval '1 s'"))
            dispatch.fail_poison(connection)
            dispatch.take_due(connection, limit=10)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT state, error_code FROM jobs")).one() == ("failed", "worker_lost")


def test_what_was_in_the_hands_of_a_dead_worker_is_suspect_until_it_moves(engine: Engine, run: Run) -> None:
    add_batch(engine, 2)
    ids = admit_all(engine)
    assert claimed(run, Stage.SUBMIT, ids[:1])
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET due_at = now() - interval '1 s'"))
        dispatch.take_due(connection, limit=10)
        assert dispatch.suspects(connection, ids) == set(ids[:1])
        assert dispatch.suspects(connection, []) == set()


def test_what_fell_silent_twice_is_sent_one_at_a_time(engine: Engine, run: Run) -> None:
    add_batch(engine, 3)
    ids = admit_all(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET hold = 'idle', due_at = now(), claims = 2"))
        first = dispatch.take_due(connection, limit=10)[Stage.SUBMIT]
        assert (len(first), dispatch.take_due(connection, limit=10)) == (1, {}), "on its way"
        assert dispatch.seconds_to_next(connection, with_endpoints=False) is None, "nothing to hurry for"
    assert claimed(run, Stage.SUBMIT, first)
    with engine.begin() as connection:
        assert dispatch.take_due(connection, limit=10) == {}, "in hand"
        connection.execute(text("UPDATE jobs SET claims = 0 WHERE id = :id"), {"id": first[0]})
        [second] = dispatch.take_due(connection, limit=10)[Stage.SUBMIT]
    assert second in set(ids) - set(first)


def test_a_job_whose_worker_died_once_waits_for_nobody(engine: Engine, run: Run) -> None:
    add_batch(engine, 2)
    ids = admit_all(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET claims = 1"))
    assert len(claimed(run, Stage.SUBMIT, ids)) == 2
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE jobs SET hold = 'idle', due_at = now(), claims = 1 WHERE id = :id"), {"id": ids[0]}
        )
        assert dispatch.take_due(connection, limit=10) == {Stage.SUBMIT: ids[:1]}


def test_a_lost_message_is_told_from_a_late_one(engine: Engine) -> None:
    add_batch(engine, 2)
    admit_all(engine)
    with engine.begin() as connection:
        assert dispatch.take_lost(connection, Stage.SUBMIT, limit=10) == []
        connection.execute(text("UPDATE jobs SET due_at = due_at - interval '5 s'"))
        assert len(dispatch.take_lost(connection, Stage.SUBMIT, limit=10)) == 2


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (lanes._LANES, "ix_jobs_admission"),
        (dispatch._DUE, "ix_jobs_due"),
        (dispatch._NEXT_DUE, "ix_jobs_due"),
        (admission._EXPIRE, "ix_jobs_expires_at"),
    ],
)
def test_the_dispatcher_reads_through_its_indexes(engine: Engine, statement: object, index: str) -> None:
    add_batch(engine, 3000)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE jobs"))
        sql = str(statement).replace(":resend", "60").replace(":limit", "10")
        plan = "\n".join(connection.execute(text(f"EXPLAIN {sql}")).scalars())
    assert index in plan
    assert "Seq Scan on jobs" not in plan


def test_a_budget_holds_over_priority_bands(engine: Engine) -> None:
    with engine.begin() as connection:
        batch = open_batch(connection, "mixed", limits=BatchLimits(budget_usd=Decimal("0.18")))
        jobs = [photo(str(n), priority=band) for n, band in enumerate(["interactive", "normal", "bulk"])]
        insert(connection, jobs, batch=batch)
    for _ in range(3):
        assert admitted(engine, 10) == {"mixed": 1}


def test_a_paused_batch_that_is_cancelled_ends(engine: Engine) -> None:
    batch = add_batch(engine, 2)
    with engine.begin() as connection:
        pause(connection, batch.id)
        cancel_batch(connection, batch.id)
        connection.execute(text("UPDATE jobs SET state = 'queued', due_at = now(), finished_at = NULL"))  # came back
    assert admitted(engine, 5) == {}
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM jobs WHERE state = 'cancelled'")) == 2


def test_results_that_pile_up_before_s3_stop_admission(engine: Engine) -> None:
    add_batch(engine, 150)
    admit_all(engine, slots=140)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'storing' WHERE state = 'submitting'"))
    assert admitted(engine, 50) == {}
