"""Calls that failed are repeated as far as their budget goes; the others wait, and lose nothing."""

import uuid

from sqlalchemy import Engine, text

from models import dispatch
from models.states import Stage
from tests.integration.conftest import add_batch, admit_all
from worker.admit import admit_retries


def fail_calls(engine: Engine, jobs: int) -> list[uuid.UUID]:
    """So many jobs whose call has failed once, due to be repeated."""
    add_batch(engine, jobs)
    ids = admit_all(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET hold = 'idle', attempt = 1, requested_at = now(), due_at = now()"))
    return ids


def gate(engine: Engine, closed_for_s: float) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE upstreams SET closed_reason = 'unavailable', closed_until = now() + make_interval(secs => :s)"
            ),
            {"s": closed_for_s},
        )


def retry(engine: Engine, limit: int) -> list[uuid.UUID]:
    with engine.begin() as connection:
        return admit_retries(connection, limit=limit)


def test_as_many_as_the_budget_covers_go_and_the_others_stay_due(engine: Engine) -> None:
    ids = fail_calls(engine, 5)
    assert len(first := retry(engine, 2)) == 2
    assert len(second := retry(engine, 9)) == 3
    assert sorted(first + second) == sorted(ids)
    assert retry(engine, 9) == []
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT DISTINCT state, hold, attempt FROM jobs")).all()
    assert rows == [("submitting", "sent", 1)], "waiting cost no attempt"


def test_urgent_ones_go_first(engine: Engine) -> None:
    ids = fail_calls(engine, 3)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET priority = 0, due_at = now() WHERE id = :id"), {"id": ids[2]})
    assert retry(engine, 1) == [ids[2]]


def test_what_is_due_without_having_failed_needs_no_budget(engine: Engine) -> None:
    ids = fail_calls(engine, 3)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET attempt = 0 WHERE id = :id"), {"id": ids[0]})
        connection.execute(
            text("UPDATE jobs SET state = 'running', accepted_at = now() WHERE id = :id"), {"id": ids[1]}
        )
        assert dispatch.take_due(connection, limit=10) == {Stage.SUBMIT: [ids[0]], Stage.POLL: [ids[1]]}


def test_the_dispatcher_does_not_look_all_the_time_for_what_waits_for_its_budget(engine: Engine) -> None:
    fail_calls(engine, 1)
    with engine.connect() as connection:
        assert dispatch.seconds_to_next(connection) is None


def test_a_closed_gate_lets_none_through_and_then_a_single_probe(engine: Engine) -> None:
    fail_calls(engine, 3)
    gate(engine, 60)
    assert retry(engine, 9) == []
    gate(engine, -1)
    assert len(retry(engine, 9)) == 1
    assert retry(engine, 9) == [], "closed again until the probe has told"


def test_a_probe_costs_no_attempt(engine: Engine) -> None:
    [job_id] = fail_calls(engine, 1)
    for before, after in ((4, 3), (1, 1)):  # its failure adds one; with none it would be no retry
        with engine.begin() as connection:
            connection.execute(text("UPDATE jobs SET hold = 'idle', due_at = now(), attempt = :n"), {"n": before})
        gate(engine, -1)
        assert retry(engine, 9) == [job_id]
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT attempt FROM jobs")) == after
