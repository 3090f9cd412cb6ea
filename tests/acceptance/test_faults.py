"""Processes die, Phota refuses, people cancel: one case each of what the campaign in test_chaos.py does not cover."""

import os
import signal
import time
from typing import Any

import psutil
from sqlalchemy import Engine, text

from models.inserts import BatchRef
from producer.batches import cancel_batch, close_batch, open_batch
from producer.submission import submit
from sandbox.stack import Stack
from tests.acceptance.conftest import Fleet, eventually, states, storage_of


def add_jobs(engine: Engine, count: int, **fields: Any) -> BatchRef:
    """A closed batch of so many pictures to be made."""
    with engine.begin() as connection:
        batch = open_batch(connection, "faults")
        job = {"operation": "generate", "params": {"prompt": "a boat"}} | fields
        submit([job | {"custom_id": str(n)} for n in range(count)], batch=batch, session=connection)
        close_batch(connection, batch)
    return batch


def some_done(engine: Engine, count: int) -> bool:
    return eventually(lambda: states(engine).get("succeeded", 0) >= count)


def all_succeed(fleet: Fleet, engine: Engine, count: int, *, within_s: float = 60) -> None:
    """The job table, the ledger of charges and the bucket agree: each job once."""
    assert eventually(lambda: states(engine) == {"succeeded": count}, within_s=within_s), states(engine)
    charged = [charge["client_request_id"] for charge in fleet.ledger()["charges"]]
    assert len(charged) == len(set(charged)) == count
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT key, bytes FROM outputs")).all()
    objects = {info.key: info.size for info in storage_of(fleet).list(fleet.environment["PHOTABATCH_S3_BUCKET"])}
    assert {row.key: row.bytes for row in rows} == objects


def expire_leases(engine: Engine) -> None:
    """As if 30 s had passed for everything that is held, instead of waiting for them."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET due_at = now() WHERE hold = 'held'"))


def test_another_dispatcher_takes_over(idle_fleet: Fleet, engine: Engine) -> None:
    idle_fleet.start(dispatchers=2)
    add_jobs(engine, 60)
    assert some_done(engine, 5)
    leader = idle_fleet.child("dispatcher")
    os.kill(leader.pid, signal.SIGKILL)
    assert eventually(lambda: not leader.is_alive)
    all_succeed(idle_fleet, engine, 60)


def test_no_credit_closes_the_gate_and_nobody_fails(fleet: Fleet, engine: Engine) -> None:
    fleet.configure(credit=0.5)
    add_jobs(engine, 10)
    assert eventually(lambda: gate(engine) == "no_credit")
    assert set(states(engine)) <= {"queued", "submitting", "running", "storing", "succeeded"}
    fleet.configure(credit=100)
    with engine.begin() as connection:
        connection.execute(text("UPDATE upstreams SET closed_until = now()"))  # instead of waiting for the probe
    all_succeed(fleet, engine, 10)
    assert gate(engine) is None


def gate(engine: Engine) -> str | None:
    with engine.connect() as connection:
        reason: str | None = connection.scalar(text("SELECT closed_reason FROM upstreams"))
    return reason


def test_the_hidden_limit_is_found_and_kept(fleet: Fleet, engine: Engine) -> None:
    fleet.configure(limit=4, retry_after_s=1)
    add_jobs(engine, 25)
    all_succeed(fleet, engine, 25)
    assert fleet.ledger()["max_in_flight"] <= 4


def test_a_job_that_phota_gives_up_fails_with_its_code(fleet: Fleet, engine: Engine) -> None:
    fleet.configure(faults=[{"match": "job", "fault": "fail", "times": 1, "code": "MODEL_OVERLOADED"}])
    add_jobs(engine, 3)
    assert eventually(lambda: states(engine) == {"succeeded": 2, "failed": 1}), states(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT error_code FROM jobs WHERE state = 'failed'")) == "model_overloaded"
    assert "1 × model_overloaded" in fleet.command("status").stdout
    assert fleet.ledger()["totals"]["charges"] == 2


def test_cancel_stops_what_is_not_paid_for_and_collects_the_rest(fleet: Fleet, engine: Engine) -> None:
    fleet.configure(latency="1.5")
    batch = add_jobs(engine, 300)
    assert eventually(lambda: states(engine).get("running", 0) >= 4)
    with engine.begin() as connection:
        assert cancel_batch(connection, batch.id)
    assert eventually(lambda: set(states(engine)) == {"succeeded", "cancelled"}), states(engine)
    assert fleet.ledger()["totals"]["charges"] == states(engine)["succeeded"]
    assert fleet.batch("watch", "faults")["status"] == "cancelled"


def test_a_worker_that_is_asked_to_stop_hands_back(fleet: Fleet, engine: Engine) -> None:
    fleet.configure(latency="1")
    add_jobs(engine, 40)
    assert some_done(engine, 3)
    worker = fleet.child("worker")
    fleet.start_worker()
    asked = time.monotonic()
    os.kill(worker.pid, signal.SIGTERM)
    assert eventually(lambda: not worker.is_alive, within_s=10)
    assert time.monotonic() - asked < 10
    all_succeed(fleet, engine, 40)


def test_a_synchronous_call_that_was_cut_is_never_sent_again(idle_fleet: Fleet, engine: Engine) -> None:
    idle_fleet.start(PHOTABATCH_PHOTA_MODE="sync")
    idle_fleet.configure(faults=[{"match": "submit", "fault": "reset_after", "times": 1}])
    add_jobs(engine, 3)
    assert eventually(lambda: states(engine) == {"succeeded": 2, "failed": 1}), states(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT error_code FROM jobs WHERE state = 'failed'")) == "needs_review"
    assert idle_fleet.ledger()["totals"]["charges"] == 3


def test_a_worker_stops_in_time_though_the_database_hangs(fleet: Fleet, engine: Engine, stack: Stack) -> None:
    fleet.configure(latency="2")
    add_jobs(engine, 30)
    assert eventually(lambda: states(engine).get("running", 0) >= 3)
    postgres = psutil.Process(stack.child("postgres").pid)
    family = [postgres, *postgres.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        worker = fleet.child("worker")
        os.kill(worker.pid, signal.SIGTERM)
        assert eventually(lambda: not worker.is_alive, within_s=12)
    finally:
        for process in reversed(family):
            process.resume()
    fleet.start_worker()
    expire_leases(engine)
    all_succeed(fleet, engine, 30)
