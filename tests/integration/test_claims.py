"""What workers do to jobs, and what the fence refuses."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from models.claims import Move, StoredOutput, keep, record
from models.states import Hold, JobState, Stage
from tests.integration.conftest import Run, add_batch, admit_all, claimed

OUTPUT = StoredOutput(0, "bucket", "key.jpg", "image/jpeg", 3, "a" * 64, 1, 1)


def row(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return dict(connection.execute(text("SELECT * FROM jobs")).mappings().one())


def write(run: Run, *moves: Move) -> set[Any]:
    took: set[Any] = run(lambda connection: record(connection, moves))
    return took


def test_one_claim_wins(engine: Engine, run: Run) -> None:
    add_batch(engine)
    ids = admit_all(engine)
    assert len(claimed(run, Stage.SUBMIT, ids)) == 1
    assert claimed(run, Stage.SUBMIT, ids) == []


def test_a_message_for_another_stage_takes_nothing(engine: Engine, run: Run) -> None:
    add_batch(engine)
    assert claimed(run, Stage.POLL, admit_all(engine)) == []


def test_a_zombie_cannot_write(engine: Engine, run: Run) -> None:
    add_batch(engine)
    ids = admit_all(engine)
    zombie = claimed(run, Stage.SUBMIT, ids)[0]
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET hold = 'sent'"))
    heir = claimed(run, Stage.SUBMIT, ids)[0]
    assert write(run, Move(zombie.id, zombie.version, JobState.FAILED, None)) == set()
    assert write(run, Move(heir.id, heir.version, JobState.RUNNING, 1.0, accepted=True)) == {heir.id}


def test_a_final_state_is_left_by_nothing(engine: Engine, run: Run) -> None:
    add_batch(engine)
    job = claimed(run, Stage.SUBMIT, admit_all(engine))[0]
    write(run, Move(job.id, job.version, JobState.REJECTED, None, error_code="no"))
    assert write(run, Move(job.id, job.version, JobState.RUNNING, 1.0)) == set()
    assert row(engine)["state"] == "rejected"


def test_success_comes_with_its_outputs(engine: Engine, run: Run) -> None:
    add_batch(engine)
    job = claimed(run, Stage.SUBMIT, admit_all(engine))[0]
    write(run, Move(job.id, job.version, JobState.SUCCEEDED, None, cost_usd=Decimal("0.12"), outputs=(OUTPUT,)))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM outputs")) == 1
    assert row(engine)["finished_at"] is not None


def test_a_refused_move_leaves_no_outputs(engine: Engine, run: Run) -> None:
    add_batch(engine)
    job = claimed(run, Stage.SUBMIT, admit_all(engine))[0]
    write(run, Move(job.id, job.version + 1, JobState.SUCCEEDED, None, cost_usd=Decimal(1), outputs=(OUTPUT,)))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM outputs")) == 0


def test_the_first_request_is_told_from_later_ones(engine: Engine, run: Run) -> None:
    add_batch(engine)
    ids = admit_all(engine)
    first = claimed(run, Stage.SUBMIT, ids)[0]
    assert first.is_first_request
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET hold = 'sent'"))
    assert not claimed(run, Stage.SUBMIT, ids)[0].is_first_request


def test_going_back_to_queued_forgets_the_request(engine: Engine, run: Run) -> None:
    add_batch(engine)
    job = claimed(run, Stage.SUBMIT, admit_all(engine))[0]
    write(run, Move(job.id, job.version, JobState.QUEUED, 0.0))
    assert row(engine)["requested_at"] is None


def test_a_carried_job_keeps_its_lease(engine: Engine, run: Run) -> None:
    add_batch(engine)
    job = claimed(run, Stage.SUBMIT, admit_all(engine))[0]
    ready = Move(job.id, job.version, JobState.STORING, 30.0, hold=Hold.HELD, cost_usd=Decimal("0.12"))
    assert write(run, ready) == {job.id}
    done = replace(ready, state=JobState.SUCCEEDED, due_s=None, hold=Hold.IDLE, outputs=(OUTPUT,))
    assert write(run, done) == {job.id}


def test_the_heartbeat_keeps_only_what_is_still_held(engine: Engine, run: Run) -> None:
    add_batch(engine)
    job = claimed(run, Stage.SUBMIT, admit_all(engine))[0]
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET due_at = now()"))
    run(lambda connection: keep(connection, {job.id: job.version + 1}))
    before = row(engine)["due_at"]
    run(lambda connection: keep(connection, {job.id: job.version}))
    assert row(engine)["due_at"] > before


@pytest.mark.parametrize(
    "broken",
    [
        "state = 'succeeded'",
        "state = 'lost'",
        "hold = 'mine'",
        "due_at = NULL",
        "requested_at = now()",
    ],
)
def test_the_database_refuses_what_cannot_be(engine: Engine, broken: str) -> None:
    add_batch(engine)
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(text(f"UPDATE jobs SET {broken}"))
