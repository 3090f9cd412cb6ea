"""What failed and may have been charged is not paid again for the same content until somebody says so."""

import uuid
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text

from models import admission, generations
from models.claims import record
from models.inserts import BatchRef
from models.progress import read_batch
from models.states import Stage
from producer.batches import Retried, retry_batch
from tests.integration.conftest import Run, admit_all, claimed
from tests.integration.ended_jobs import fail, succeed
from tests.integration.test_content import ADMIT, batch_of, crowded, lone, same, states, tick
from worker.moves import snooze

__all__ = ["crowded"]


def lose(engine: Engine, job_id: uuid.UUID, *, code: str = "worker_lost", asked: str = "1 minute") -> None:
    """It fails, and nobody knows whether it was charged; first called so long ago."""
    fail(engine, job_id, code=code)
    query = "UPDATE jobs SET cost_usd = 0.12, requested_at = now() - CAST(:asked AS interval) WHERE id = :id"
    with engine.begin() as connection:
        connection.execute(text(query), {"id": job_id, "asked": asked})


def lost(engine: Engine, **fields: Any) -> BatchRef:
    """A batch whose only job, of content `a`, was lost."""
    batch = batch_of(engine, same("lost"))
    lose(engine, tick(engine)[0], **fields)
    return batch


def retry(engine: Engine, batch: BatchRef, **options: Any) -> Retried:
    with engine.begin() as connection:
        return retry_batch(connection, batch.id, **options)


def row(engine: Engine, custom_id: str) -> dict[str, Any]:
    """The generation that counts."""
    query = text("SELECT * FROM jobs WHERE custom_id = :custom_id AND superseded_at IS NULL")
    with engine.connect() as connection:
        return dict(connection.execute(query, {"custom_id": custom_id}).mappings().one())


def test_of_the_same_content_none_is_called_after_one_that_may_have_been_charged(engine: Engine) -> None:
    batch = batch_of(engine, same("1"), same("2"), same("3", "b"))
    lose(engine, tick(engine)[0])
    assert tick(engine) == []
    assert states(engine) == ["failed", "failed", "submitting"]
    held = row(engine, "2")
    assert (held["error_code"], held["requested_at"], held["cost_usd"]) == ("needs_review", None, None)
    with engine.connect() as connection:
        view = read_batch(connection, batch.id)
    assert view is not None
    assert (view.counts["failed"], view.spent_usd) == (2, Decimal("0.12"))


def test_the_one_that_is_held_back_names_the_other_and_what_to_do(engine: Engine) -> None:
    first = lost(engine)
    batch_of(engine, same("2"))
    tick(engine)
    assert row(engine, "2")["error_message"] == (
        f"the same was called before, as job {row(engine, 'lost')['id']} of batch {first.slug}, and may have been "
        f"charged (worker_lost): `photabatch retry {first.slug}` goes on with that call; `retry --pay-again` for this "
        "one makes another call"
    )


def test_it_does_not_hold_up_other_contents_in_the_same_tick(engine: Engine) -> None:
    lost(engine)
    batch_of(engine, *[same(f"a{number}") for number in range(20)], same("b", "b"), same("c", "c"))
    assert len(tick(engine, concurrency=2)) == 2


def test_a_failure_that_was_certainly_free_holds_back_nobody(engine: Engine) -> None:
    batch_of(engine, same("1"), same("2"))
    fail(engine, tick(engine)[0])
    assert len(tick(engine)) == 1


def test_what_the_collected_call_brings_serves_those_that_were_held_back(engine: Engine) -> None:
    batch = batch_of(engine, same("1"), same("2"))
    lose(engine, tick(engine)[0])
    tick(engine)
    assert retry(engine, batch) == Retried(1, 1, {}, {})
    assert (tick(engine), row(engine, "2")["state"]) == ([], "queued")
    succeed(engine, row(engine, "1")["id"])
    assert tick(engine) == []
    assert (row(engine, "2")["state"], row(engine, "2")["same_as"]) == ("skipped", row(engine, "1")["id"])


def test_a_later_run_of_the_same_is_held_back_until_the_first_is_decided(engine: Engine) -> None:
    first = lost(engine, asked="2 days")
    second = batch_of(engine, same("again"))
    tick(engine)
    assert retry(engine, second).retried == 1
    assert (tick(engine), row(engine, "again")["error_code"]) == ([], "needs_review")
    assert retry(engine, first, pay_again=True).retried == 1
    assert tick(engine) == [row(engine, "lost")["id"]]


def test_who_says_so_pays_again_where_the_first_lies_in_another_batch(engine: Engine) -> None:
    lost(engine)
    second = batch_of(engine, same("again"))
    tick(engine)
    assert retry(engine, second, pay_again=True).retried == 1
    assert tick(engine) == [row(engine, "again")["id"]]


def test_to_pay_again_is_said_of_one_generation(engine: Engine) -> None:
    lost(engine)
    second = batch_of(engine, same("again"))
    tick(engine)
    retry(engine, second, pay_again=True)
    fail(engine, tick(engine)[0])
    assert retry(engine, second).retried == 1
    assert (tick(engine), row(engine, "again")["error_code"]) == ([], "needs_review")


def test_a_redo_is_held_back_by_its_own_batch_alone(engine: Engine) -> None:
    lost(engine)
    batch_of(engine, same("1", redo=True), same("2", redo=True))
    (redone,) = tick(engine)
    lose(engine, redone)
    assert tick(engine) == []
    assert [row(engine, name)["state"] for name in ("1", "2")] == ["failed", "failed"]


def test_a_job_of_its_own_is_told_of_too(engine: Engine) -> None:
    first, second = lone(engine, same())[0].id, lone(engine, same())[0].id
    lose(engine, first)
    assert tick(engine) == []
    with engine.connect() as connection:
        message = connection.scalar(text("SELECT error_message FROM jobs WHERE id = :id"), {"id": second})
    assert f"as job {first} and may" in str(message).replace(",", "")


def test_what_was_done_all_the_same_is_skipped_and_not_held_back(engine: Engine) -> None:
    lost(engine)
    batch_of(engine, same("1"))
    succeed(engine, lone(engine, same(redo=True))[0].id)
    assert (tick(engine), row(engine, "1")["state"]) == ([], "skipped")


def test_a_call_is_not_sent_again_while_the_same_is_under_way(engine: Engine) -> None:
    first = lost(engine, code="timeout")
    batch_of(engine, same("1", redo=True))
    (redone,) = tick(engine)
    assert retry(engine, first) == Retried(0, 0, {"timeout": 1}, {})
    succeed(engine, redone)
    assert retry(engine, first) == Retried(1, 0, {}, {})
    assert (tick(engine), row(engine, "lost")["same_as"]) == ([], redone)


def test_of_two_lost_calls_of_one_batch_one_is_sent_again(engine: Engine) -> None:
    """As batches have them that are older than the rule."""
    batch = batch_of(engine, same("1"), same("2"))
    for custom_id in ("1", "2"):
        lose(engine, row(engine, custom_id)["id"], code="timeout")
    assert retry(engine, batch) == Retried(0, 1, {"timeout": 1}, {})
    assert [row(engine, name)["state"] for name in ("1", "2")] == ["submitting", "failed"]


def test_one_that_comes_back_uncalled_waits_for_the_one_that_took_its_turn(engine: Engine, run: Run) -> None:
    batch_of(engine, same("1"), same("2"))
    (first,) = tick(engine)
    (job,) = claimed(run, Stage.SUBMIT, [first])
    run(lambda connection: record(connection, [snooze(job, 60.0, code="throttled", message="slow down")]))
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET due_at = now() WHERE custom_id = '2'"))
    (second,) = admit_all(engine)
    assert (tick(engine), row(engine, "1")["state"]) == ([], "queued")
    succeed(engine, second)
    tick(engine)
    skipped = row(engine, "1")
    assert (skipped["state"], skipped["same_as"], skipped["error_code"]) == ("skipped", second, None)


def test_what_came_back_uncalled_is_held_back_if_the_other_was_lost(engine: Engine, run: Run) -> None:
    batch_of(engine, same("1"))
    (job,) = claimed(run, Stage.SUBMIT, tick(engine))
    run(lambda connection: record(connection, [snooze(job, 0.0, code="throttled")]))
    lose(engine, lone(engine, same())[0].id)
    assert (tick(engine), row(engine, "1")["error_code"]) == ([], "needs_review")


def test_lost_calls_are_looked_up_through_their_index(crowded: Engine) -> None:
    with crowded.connect() as connection:
        batch = connection.execute(text("SELECT id, account_id FROM batches")).one()
        explained = text(f"EXPLAIN {admission._ADMIT}").bindparams(*admission._ADMIT._bindparams.values())
        values = ADMIT | {"lanes": [batch.id], "accounts": [batch.account_id]}
        plan = "\n".join(connection.execute(explained, values).scalars())
    assert "ix_jobs_unclear" in plan
    assert "Seq Scan on jobs" not in plan


@pytest.mark.parametrize("pay_again", [True, False])
def test_a_retry_looks_at_its_likes_through_indexes(crowded: Engine, pay_again: bool) -> None:
    with crowded.connect() as connection:
        batch = connection.execute(text("SELECT id FROM batches")).scalar_one()
        values = {"id": batch, "code": None, "pay_again": pay_again, "known_for": 3600, "after": batch, "bite": 5000}
        plan = "\n".join(connection.execute(text(f"EXPLAIN {generations._SUPERSEDE}"), values).scalars())
    assert "Seq Scan on jobs" not in plan
