"""Jobs enter: validated, once, in the caller's transaction or one of their own."""

from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from models.states import JobState
from producer.batches import close_batch, join_batch, open_batch
from producer.ownership import QueueFull
from producer.submission import BatchClosed, InvalidJobs, submit
from tests.integration.api_fixtures import new_account

JOB: dict[str, Any] = {"operation": "enhance", "params": {"image": "s3://photos/1.jpg"}}


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM jobs")) or 0)


def test_nothing_is_there_before_the_callers_commit(engine: Engine) -> None:
    with Session(engine) as session:
        submit(JOB, session=session)
        assert count(engine) == 0
        session.commit()
    assert count(engine) == 1


def test_a_rollback_takes_the_jobs_with_it(engine: Engine) -> None:
    with Session(engine) as session:
        submit([JOB] * 3, session=session)
        session.rollback()
    assert count(engine) == 0


def test_one_bad_job_stops_all_and_every_problem_is_told(engine: Engine) -> None:
    bad = {"operation": "generate", "params": {"prompt": "x", "images": [], "resolution": "8K"}}
    with engine.begin() as connection, pytest.raises(InvalidJobs) as caught:
        submit([JOB, bad], session=connection)
    assert {problem.param for _, problem in caught.value.problems} == {"images", "resolution"}
    assert count(engine) == 0


def test_a_custom_id_twice_is_a_problem(engine: Engine) -> None:
    with engine.begin() as connection, pytest.raises(InvalidJobs, match="'a' is that of job 0 too"):
        submit([JOB | {"custom_id": "a"}, JOB | {"custom_id": "a"}], session=connection)


def test_the_same_idempotency_key_is_the_same_job(engine: Engine) -> None:
    with engine.begin() as connection:
        first = submit(JOB | {"idempotency_key": "k"}, session=connection)[0]
        again = submit(JOB | {"idempotency_key": "k"}, session=connection)[0]
    assert (again.id, again.is_new, first.is_new) == (first.id, False, True)
    assert count(engine) == 1


def test_a_custom_id_that_a_batch_has_already_is_not_queued_again(engine: Engine) -> None:
    with engine.begin() as connection:
        batch = open_batch(connection, "b")
        submit(JOB | {"custom_id": "a"}, batch=batch, session=connection)
        assert not submit(JOB | {"custom_id": "a"}, batch=batch, session=connection)[0].is_new


def test_ten_thousand_jobs_in_one_call(engine: Engine) -> None:
    with engine.begin() as connection:
        batch = open_batch(connection, "many")
        jobs = submit((JOB | {"custom_id": str(n)} for n in range(10_000)), batch=batch, session=connection)
    assert count(engine) == 10_000
    assert all(job.is_new and job.state is JobState.QUEUED for job in jobs)


def test_a_closed_batch_takes_no_jobs(engine: Engine) -> None:
    with engine.begin() as connection:
        batch = open_batch(connection, "b")
        close_batch(connection, batch)
    with engine.begin() as connection, pytest.raises(BatchClosed):
        submit(JOB, batch=batch, session=connection)


def test_a_batch_is_joined_by_name(engine: Engine) -> None:
    with engine.begin() as connection:
        first = join_batch(connection, "uploads")
        assert join_batch(connection, "uploads").id == first.id
        assert join_batch(connection, "others").id != first.id


def test_defaults_are_written_down_not_left_to_phota(engine: Engine) -> None:
    with engine.begin() as connection:
        submit(JOB, session=connection)
        params = connection.scalar(text("SELECT params FROM jobs"))
    assert params == {"image": "s3://photos/1.jpg", "output_format": "jpg", "num_output_images": 1}


def test_an_account_submits_what_it_may_name_and_no_more_than_it_may_have_waiting(engine: Engine) -> None:
    account = new_account(engine, "small", queue_limit=1, s3_prefixes=("s3://photos/mine/",))
    mine = JOB | {"params": {"image": "s3://photos/mine/1.jpg"}}
    with engine.begin() as connection:
        with pytest.raises(InvalidJobs, match="must be below"):
            submit(JOB, session=connection, account_id=account.id)
        assert submit(mine, session=connection, account_id=account.id)[0].is_new
    with engine.connect() as connection, pytest.raises(QueueFull):
        submit(mine, session=connection, account_id=account.id)
    assert count(engine) == 1
