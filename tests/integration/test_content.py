"""The same bytes, operation and parameters are charged once, whichever way and in whichever batch they come."""

import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text

from models import DEFAULT_ACCOUNT, admission, contents, inserts, new_id
from models.inserts import BatchRef
from models.jobs import read_job
from models.progress import read_batch
from models.results import finished_jobs
from producer.batches import BatchLimits, close_batch, open_batch, resume_batch, retry_batch
from producer.content import with_content
from producer.jobs import CheckedJob
from producer.manifests.bulk import Queued, queue_spooled
from producer.manifests.spool import Spool
from producer.ownership import Room, owner_of
from producer.submission import Submitted, insert
from settings import Settings
from tests.integration.api_fixtures import new_account
from tests.integration.conftest import add_batch, photo
from tests.integration.ended_jobs import fail, settle_all, succeed
from worker.admit import admit


def same(custom_id: str | None = None, content: str = "a", *, redo: bool = False, **fields: Any) -> CheckedJob:
    """A job on bytes that are told by a letter."""
    return with_content(photo(custom_id, **fields), [f"sha256:{content}"], is_redo=redo)


def batch_of(engine: Engine, *jobs: CheckedJob, budget_usd: str | None = None) -> BatchRef:
    with engine.begin() as connection:
        limits = BatchLimits(budget_usd=None if budget_usd is None else Decimal(budget_usd))
        batch = open_batch(connection, "test", limits=limits)
        insert(connection, jobs, batch=batch)
    return batch


def lone(engine: Engine, *jobs: CheckedJob) -> list[Submitted]:
    with engine.begin() as connection:
        return insert(connection, jobs)


def tick(engine: Engine, *, concurrency: int = 10) -> list[uuid.UUID]:
    """One admission; jobs that wait for their like are looked at again at once."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET due_at = now() WHERE state = 'queued'"))
        return admit(connection, Settings(concurrency=concurrency))


def states(engine: Engine) -> list[str]:
    """In the order of their making."""
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT state FROM jobs ORDER BY id")).scalars())


def links(engine: Engine) -> list[uuid.UUID | None]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT same_as FROM jobs ORDER BY id")).scalars())


def test_of_the_same_content_one_is_admitted_at_a_time(engine: Engine) -> None:
    batch_of(engine, same("1"), same("2"), same("3", "b"))
    assert len(tick(engine)) == 2
    assert states(engine) == ["submitting", "queued", "submitting"]
    assert tick(engine) == []


def test_once_it_is_done_the_others_are_skipped_and_linked(engine: Engine) -> None:
    batch = batch_of(engine, same("1"), same("2"), same("3"))
    (first,) = tick(engine)
    succeed(engine, first, key="a/1-0.jpg")
    assert tick(engine) == []
    assert states(engine) == ["succeeded", "skipped", "skipped"]
    assert links(engine) == [None, first, first]
    with engine.connect() as connection:
        keys = [job.outputs[0]["key"] for job in finished_jobs(connection, batch.id)]
        spent = connection.scalar(text("SELECT spent_usd FROM batch_progress"))
    assert (keys, spent) == (["a/1-0.jpg"] * 3, Decimal("0.12"))


def test_after_a_failure_the_next_one_goes(engine: Engine) -> None:
    batch_of(engine, same("1"), same("2"))
    (first,) = tick(engine)
    fail(engine, first)
    assert len(tick(engine)) == 1
    assert states(engine) == ["failed", "submitting"]


def test_one_that_waits_does_not_hold_up_the_others(engine: Engine) -> None:
    batch_of(engine, *[same(f"a{number}") for number in range(20)], same("b", "b"), same("c", "c"))
    assert len(tick(engine, concurrency=3)) == 3


def test_a_batch_of_nothing_new_completes(engine: Engine) -> None:
    succeed(engine, lone(engine, same())[0].id)
    batch = batch_of(engine, same("1"), same("2"))
    with engine.begin() as connection:
        close_batch(connection, batch)
    settle_all(engine)
    with engine.connect() as connection:
        view = read_batch(connection, batch.id)
    assert view is not None
    assert (view.status, view.counts["skipped"], view.spent_usd) == ("completed", 2, 0)


def test_what_was_done_before_is_skipped_as_it_comes_in(engine: Engine) -> None:
    first = lone(engine, same())[0]
    assert first.state == "queued"
    succeed(engine, first.id)
    again, other = lone(engine, same(), same(None, "b"))
    assert (again.state, other.state) == ("skipped", "queued")
    assert links(engine) == [None, first.id, None]


def test_a_manifest_skips_what_was_done_before(engine: Engine) -> None:
    first = lone(engine, same())[0]
    succeed(engine, first.id)
    spool = Spool("line")
    for number, job in enumerate([same("1"), same("2", "b")]):
        spool.add(number, job)
    with engine.begin() as connection:
        owner = owner_of(connection, DEFAULT_ACCOUNT, bucket="photabatch")
        batch = open_batch(connection, "lines")
        assert queue_spooled(connection, spool, batch, owner, Room(connection, owner.account)) == Queued(2, 0, 1)
    assert states(engine) == ["succeeded", "skipped", "queued"]
    assert links(engine) == [None, first.id, None]


def test_the_job_object_names_the_one_it_is_the_same_as(engine: Engine) -> None:
    first = lone(engine, same())[0]
    succeed(engine, first.id)
    again = lone(engine, same())[0]
    with engine.connect() as connection:
        job = read_job(connection, DEFAULT_ACCOUNT, again.id)
    assert job is not None
    told = job.as_json()
    assert (told["state"], told["same_as"], len(told["outputs"])) == ("skipped", str(first.id), 1)


def test_a_redo_is_done_anew_once(engine: Engine) -> None:
    succeed(engine, lone(engine, same())[0].id)
    batch_of(engine, same("1", redo=True), same("2", redo=True))
    (redone,) = tick(engine)
    succeed(engine, redone)
    assert tick(engine) == []
    assert (states(engine)[1:], links(engine)[1:]) == (["succeeded", "skipped"], [None, redone])


def test_a_redo_beside_one_that_is_skipped_goes_at_once(engine: Engine) -> None:
    batch_of(engine, same("1"))
    batch_of(engine, same("2", redo=True))
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET due_at = now() + interval '1 h' WHERE is_redo"))
    succeed(engine, lone(engine, same())[0].id)
    assert len(tick(engine)) == 1
    assert states(engine)[:2] == ["skipped", "submitting"]


def test_another_account_has_done_nothing_for_this_one(engine: Engine) -> None:
    tenant = new_account(engine, "tenant")
    succeed(engine, lone(engine, same())[0].id)
    with engine.begin() as connection:
        job = with_content(photo(), ["sha256:a"], account_id=tenant.id)
        assert insert(connection, [job], account_id=tenant.id)[0].state == "queued"
    assert len(tick(engine)) == 1


def test_jobs_without_content_are_never_the_same(engine: Engine) -> None:
    add_batch(engine, 3)
    assert len(tick(engine)) == 3


def test_a_retry_is_skipped_if_another_batch_has_done_it_meanwhile(engine: Engine) -> None:
    batch = batch_of(engine, same("1"))
    fail(engine, tick(engine)[0])
    succeed(engine, lone(engine, same())[0].id)
    with engine.begin() as connection:
        assert retry_batch(connection, batch.id).retried == 1
    assert tick(engine) == []
    assert states(engine) == ["failed", "succeeded", "skipped"]


def test_a_batch_that_can_pay_is_not_held_up_by_one_that_cannot(engine: Engine) -> None:
    batch_of(engine, same("0", "z"), same("1"), budget_usd="0.20")
    assert len(tick(engine)) == 1
    batch_of(engine, same("1"), budget_usd="1.00")
    assert len(tick(engine)) == 1
    assert states(engine) == ["submitting", "queued", "submitting"]


def test_duplicates_of_two_batches_are_charged_once_within_both_budgets(engine: Engine) -> None:
    letters = "abcdef"
    for _ in range(2):
        batch_of(engine, *[same(each, each) for each in letters], budget_usd="0.40")
    for _ in range(12):
        for job_id in tick(engine, concurrency=4):
            succeed(engine, job_id, key=f"{job_id}.jpg")
    with engine.connect() as connection:
        dearest = connection.scalar(text("SELECT max(spent_usd + reserved_usd) FROM batch_progress"))
    assert (states(engine).count("succeeded"), dearest) == (6, Decimal("0.36"))


def test_a_batch_whose_money_is_gone_goes_on_with_what_others_have_done(engine: Engine) -> None:
    batch = batch_of(engine, same("1"), same("2", "b"), budget_usd="0.12")
    succeed(engine, tick(engine)[0])
    assert tick(engine) == []
    succeed(engine, lone(engine, same(None, "b"))[0].id)
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT paused_reason FROM batches")) == "budget"
        resume_batch(connection, batch.id)
    assert tick(engine) == []
    assert states(engine)[:2] == ["succeeded", "skipped"]


def test_what_was_done_before_costs_a_batch_without_money_nothing(engine: Engine) -> None:
    batch_of(engine, same("1"), same("2"), budget_usd="0.12")
    (first,) = tick(engine)
    succeed(engine, first)
    assert tick(engine) == []
    assert states(engine) == ["succeeded", "skipped"]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT paused_reason FROM batches")) is None


@pytest.fixture
def crowded(engine: Engine) -> Engine:
    """50,000 jobs, half of them done, with as many contents, and figures of them for the planner."""
    batch = add_batch(engine, 1)
    with engine.begin() as connection:
        connection.execute(
            text(
                """
                INSERT INTO jobs (id, account_id, batch_id, operation, params, output, content_key, priority,
                                  client_request_id, estimate_usd, state, due_at, finished_at, cost_usd)
                SELECT gen_random_uuid(), account_id, :batch, 'enhance', '{}', 's3://a/b', md5(number::text), 1,
                       number::text, 0.12, CASE number % 2 WHEN 0 THEN 'queued' ELSE 'succeeded' END,
                       CASE number % 2 WHEN 0 THEN now() END, CASE number % 2 WHEN 1 THEN now() END, 0.12
                FROM generate_series(1, 50000) AS number, jobs WHERE custom_id = '0'
                """
            ),
            {"batch": batch.id},
        )
        connection.execute(text("ANALYZE jobs"))
    return engine


ROWS = '[{"content_key": "a", "estimate_usd": 1, "is_redo": false}]'
ADMIT = {
    "priorities": [1],
    "slots": [256],
    "rooms": [None],
    "money": [None],
    "account_money": [None],
    "budgets": [None],
    "latency": {},
    "unknown": 90,
    "resend": 60,
    "again": 2,
}
READY = {"priority": 1, "output": "s3://a/b", "rows": ROWS}


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (admission._ADMIT, ADMIT),
        (inserts._INSERT_READY, READY),
        (inserts._INSERT, {"jobs": [{"content_key": "a"}]}),
        (contents._DONE, {"keys": ["a", "b"]}),
        (contents._SKIP, {"priority": 1, "rows": [{"content_key": "a"}]}),
        (contents._COUNT_DONE, {"rows": ROWS}),
    ],
)
def test_contents_are_looked_up_through_their_index(crowded: Engine, statement: Any, values: dict[str, Any]) -> None:
    with crowded.connect() as connection:
        batch = connection.execute(text("SELECT id, account_id FROM batches")).one()
        named = {"account": batch.account_id, "account_id": batch.account_id, "batch": batch.id, "batch_id": batch.id}
        lanes = {"lanes": [batch.id], "accounts": [batch.account_id]}
        explained = text(f"EXPLAIN {statement}").bindparams(*statement._bindparams.values())
        plan = "\n".join(connection.execute(explained, named | lanes | values).scalars())
    assert "ix_jobs_content" in plan
    assert "Seq Scan on jobs" not in plan


def test_what_is_linked_keeps_the_facts_of_its_picture(engine: Engine) -> None:
    facts = {"path": "/old/1.jpg", "bytes": 7, "sha256": "ab"}
    succeed(engine, lone(engine, replace(same(), source=facts))[0].id)
    row = {"id": str(new_id()), "custom_id": "new/1.jpg", "source": {"path": "/new/1.jpg"}}
    with engine.begin() as connection:
        batch = open_batch(connection, "again")
        contents.insert_skipped(connection, batch, [row | {"content_key": same().content_key}])
        (linked,) = finished_jobs(connection, batch.id)
    assert (linked.source, linked.custom_id) == (facts | {"path": "/new/1.jpg"}, "new/1.jpg")
