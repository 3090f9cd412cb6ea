"""Pause, resume, cancel and retry on a real fleet: what people ask for happens, and nothing is paid twice."""

import json
import os
import signal
import time
from typing import Any

from sqlalchemy import Engine, text

from tests.acceptance.conftest import Fleet, eventually, states
from tests.acceptance.test_faults import add_jobs, all_succeed, some_done


def told(fleet: Fleet, *words: str, code: int = 0) -> dict[str, Any]:
    """The object that a control prints with `--json`."""
    done = fleet.command(*words, "--json")
    assert done.returncode == code, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def submits(fleet: Fleet) -> int:
    """Jobs that Phota was called for, those that failed too."""
    jobs: list[dict[str, Any]] = fleet.phota.get("/_sim/jobs").json()["jobs"]
    return len(jobs)


def give_up(engine: Engine, state: str, *, code: str, count: int) -> None:
    """As if a day had passed for so many jobs in trouble: failed, as the stage would have written it."""
    assert eventually(lambda: waiting_in(engine, state) == count), states(engine)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE jobs SET state = 'failed', due_at = NULL, hold = 'idle', finished_at = now(), "
                "error_code = :code, version = version + 1, cost_usd = coalesce(cost_usd, estimate_usd) "
                "WHERE state = :state"
            ),
            {"state": state, "code": code},
        )


def waiting_in(engine: Engine, state: str) -> int:
    """Jobs that a stage has tried and put aside for later."""
    with engine.connect() as connection:
        query = "SELECT count(*) FROM jobs WHERE state = :state AND error_code IS NOT NULL"
        return int(connection.scalar(text(query), {"state": state}) or 0)


def test_a_paused_batch_admits_nothing_and_goes_on_when_resumed(idle_fleet: Fleet, engine: Engine) -> None:
    idle_fleet.start(PHOTABATCH_CONCURRENCY="8")
    idle_fleet.configure(latency="0.5")
    add_jobs(engine, 60)
    assert some_done(engine, 5)
    assert told(idle_fleet, "pause", "faults")["paused_reason"] == "user"
    assert eventually(lambda: set(states(engine)) == {"queued", "succeeded"}), states(engine)
    before = submits(idle_fleet)
    time.sleep(1.5)  # a tick of the dispatcher and more
    assert (submits(idle_fleet), states(engine)["succeeded"]) == (before, before)
    assert told(idle_fleet, "resume", "faults")["status"] == "running"
    all_succeed(idle_fleet, engine, 60)


def test_failed_jobs_are_retried_and_the_batch_completes(fleet: Fleet, engine: Engine) -> None:
    fleet.configure(faults=[{"match": "job", "fault": "fail", "times": 3, "code": "MODEL_OVERLOADED"}])
    add_jobs(engine, 8)
    assert fleet.batch("watch", "faults")["status"] == "completed_with_errors"
    answer = told(fleet, "retry", "faults")
    assert (answer["retried"], answer["collected_again"], answer["left"]) == (3, 0, {})
    batch = fleet.batch("watch", "faults")
    assert (batch["status"], batch["counts"]["total"], batch["counts"]["succeeded"]) == ("completed", 8, 8)
    charged = [charge["client_request_id"] for charge in fleet.ledger()["charges"]]
    assert len(charged) == len(set(charged)) == 8
    assert submits(fleet) == 11
    assert len(fleet.command("results", "faults").stdout.splitlines()) == 8


def test_what_could_not_be_stored_is_collected_without_a_second_charge(idle_fleet: Fleet, engine: Engine) -> None:
    idle_fleet.start(workers=1, PHOTABATCH_S3_ENDPOINT_URL="http://127.0.0.1:1")
    batch = add_jobs(engine, 4)
    give_up(engine, "storing", code="storage_unavailable", count=4)
    assert idle_fleet.batch("watch", "faults")["status"] == "failed"
    os.kill(idle_fleet.child("worker").pid, signal.SIGKILL)
    idle_fleet.start_worker()
    answer = told(idle_fleet, "retry", "faults")
    assert (answer["retried"], answer["collected_again"]) == (0, 4)
    done = idle_fleet.batch("watch", str(batch.id))
    assert (done["status"], done["counts"]["succeeded"]) == ("completed", 4)
    assert idle_fleet.ledger()["totals"]["charges"] == submits(idle_fleet) == 4
    assert done["cost_usd"]["spent"] == idle_fleet.ledger()["totals"]["cost_usd"]


def test_a_call_of_unknown_outcome_is_sent_again_under_its_id(fleet: Fleet, engine: Engine) -> None:
    fleet.configure(faults=[{"match": "submit", "fault": "reset_after"}])
    add_jobs(engine, 4)
    give_up(engine, "submitting", code="connection_lost", count=4)
    fleet.configure(faults=[])
    assert told(fleet, "retry", "faults")["collected_again"] == 4
    assert fleet.batch("watch", "faults")["status"] == "completed"
    assert fleet.ledger()["totals"]["charges"] == submits(fleet) == 4


def test_a_synchronous_call_of_unknown_outcome_is_not_repeated_by_a_retry(idle_fleet: Fleet, engine: Engine) -> None:
    idle_fleet.start(PHOTABATCH_PHOTA_MODE="sync")
    idle_fleet.configure(faults=[{"match": "submit", "fault": "reset_after", "times": 1}])
    add_jobs(engine, 2)
    assert idle_fleet.batch("watch", "faults")["status"] == "completed_with_errors"
    assert told(idle_fleet, "retry", "faults")["collected_again"] == 1
    assert idle_fleet.batch("watch", "faults")["errors"][0]["code"] == "needs_review"
    assert submits(idle_fleet) == 2
    assert told(idle_fleet, "retry", "faults", "--code", "needs_review", "--pay-again")["retried"] == 1
    assert idle_fleet.batch("watch", "faults")["status"] == "completed"
    assert idle_fleet.ledger()["totals"]["charges"] == 3


def test_cancel_tells_how_many_are_still_collected(fleet: Fleet, engine: Engine) -> None:
    fleet.configure(latency="4")
    add_jobs(engine, 300)
    assert eventually(lambda: states(engine).get("running", 0) >= 4)
    answer = told(fleet, "cancel", "faults")
    assert answer["in_flight"] >= 4
    assert answer["counts"]["cancelled"] + answer["counts"]["succeeded"] + answer["in_flight"] == 300
    assert fleet.batch("watch", "faults")["status"] == "cancelled"
    collected = states(engine)["succeeded"] - answer["counts"]["succeeded"]
    assert (collected, fleet.ledger()["totals"]["charges"]) == (answer["in_flight"], states(engine)["succeeded"])


def test_a_budget_that_is_reached_takes_more_money_to_go_on(fleet: Fleet) -> None:
    run = ("run", "--op", "generate", "--prompt", "a boat", "--count", "5", "--budget", "0.20", "--name", "boats")
    assert fleet.command(*run).returncode == 8
    refused = fleet.command("resume", "boats")
    assert (refused.returncode, "at least $0.27" in refused.stderr) == (8, True), refused.stderr
    assert fleet.command("resume", "boats", "--budget", "1").returncode == 0
    assert fleet.batch("watch", "boats")["status"] == "completed"
    assert fleet.ledger()["totals"]["charges"] == 5


def test_what_there_is_nothing_to_do_about_is_said(fleet: Fleet, engine: Engine) -> None:
    add_jobs(engine, 1)
    assert fleet.batch("watch", "faults")["status"] == "completed"
    for control, said in (("pause", "has ended already"), ("retry", "No job of")):
        done = fleet.command(control, "faults")
        assert (done.returncode, said in done.stderr) == (9, True), done.stderr
    assert fleet.command("cancel", "nothing").returncode == 2
    assert states(engine) == {"succeeded": 1}
