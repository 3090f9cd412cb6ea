"""A retry is a new generation: what it begins as, that nothing is paid or counted twice, how its batch ends anew."""

import threading
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text

from clients.phota_requests import Problem
from models import settle
from models.claims import Move, record
from models.generations import Choice, failure_groups, supersede
from models.inserts import BatchRef
from models.lanes import in_flight_by_lane
from models.progress import BatchView, read_batch
from models.results import custom_ids, finished_jobs
from models.states import BatchStatus, JobState, Stage
from producer import QueueFull
from producer.batches import BatchLimits, Retried, close_batch, open_batch, retry_batch
from producer.submission import insert, insert_rejected, submit
from tests.integration.conftest import Run, add_batch, admit_all, claimed, photo

# How rows end (worker/outcomes.py, models/dispatch.py): what a retry may know of them.
NEVER_CALLED = {"state": "expired", "error_code": "expired"}
REJECTED = {"state": "rejected", "error_code": "content_moderation", "requested_at": "now() - interval '2 days'"}
FAILED_AT_PHOTA = {
    "error_code": "model_overloaded",
    "requested_at": "now()",
    "poll_url": "'https://phota/jobs/r'",
    "remote_job_id": "'r'",
}
GIVEN_UP_STORING = FAILED_AT_PHOTA | {
    "error_code": "storage_unavailable",
    "requested_at": "now() - interval '2 days'",
    "cost_usd": "0.12",
}
UNKNOWN = {"error_code": "timeout", "requested_at": "now() - interval '22 hours'", "cost_usd": "0.12"}
UNKNOWN_AND_OLD = UNKNOWN | {"error_code": "needs_review", "requested_at": "now() - interval '23.5 hours'"}


def ended(engine: Engine, *endings: dict[str, str], **fields: Any) -> BatchRef:
    """A finished batch, a job an ending: its state (failed, unless it says so), error code, and columns as SQL."""
    with engine.begin() as connection:
        batch = open_batch(connection, "test", **fields)
        for number, ending in enumerate(endings):
            columns = {name: value for name, value in ending.items() if name not in ("state", "error_code")}
            insert(connection, [photo(str(number), idempotency_key=f"key {number}")], batch=batch)
            sets = "".join(f", {name} = {value}" for name, value in columns.items())
            connection.execute(
                text(
                    "UPDATE jobs SET state = :state, error_code = :code, error_message = 'it did not work', "
                    f"due_at = NULL, finished_at = now() {sets} WHERE custom_id = :custom_id"
                ),
                {"state": ending.get("state", "failed"), "code": ending["error_code"], "custom_id": str(number)},
            )
        close_batch(connection, batch)
    settle_all(engine, batch)
    return batch


def settle_all(engine: Engine, batch: BatchRef) -> None:
    with engine.begin() as connection:
        settle.fold_counts(connection)
        settle.settle(connection, [batch.id])


def retry(engine: Engine, batch: BatchRef, **options: Any) -> Retried:
    with engine.begin() as connection:
        return retry_batch(connection, batch.id, **options)


def rows(engine: Engine) -> list[dict[str, Any]]:
    """In the order of their making."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text("SELECT * FROM jobs ORDER BY id")).mappings()]


def view(engine: Engine, batch: BatchRef) -> BatchView:
    with engine.connect() as connection:
        found = read_batch(connection, batch.id)
    assert found is not None
    return found


def pair(engine: Engine) -> tuple[dict[str, Any], dict[str, Any]]:
    old, new = rows(engine)
    return old, new


@pytest.mark.parametrize(
    ("ending", "code"), [(NEVER_CALLED, None), (FAILED_AT_PHOTA, None), (REJECTED, "content_moderation")]
)
def test_what_was_never_charged_is_called_anew(engine: Engine, ending: dict[str, str], code: str | None) -> None:
    batch = ended(engine, ending)
    assert retry(engine, batch, code=code) == Retried(1, 0, {}, {})
    old, new = pair(engine)
    assert (new["state"], new["client_request_id"]) == ("queued", new["id"].hex)
    assert new["requested_at"] is new["poll_url"] is new["remote_job_id"] is None
    assert new["client_request_id"] != old["client_request_id"]


def test_what_phota_knows_is_asked_for_again(engine: Engine, run: Run) -> None:
    batch = ended(engine, GIVEN_UP_STORING)
    assert retry(engine, batch) == Retried(0, 1, {}, {})
    old, new = pair(engine)
    same = ("client_request_id", "requested_at", "remote_job_id", "poll_url")
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET hold = 'sent' WHERE state = 'running'"))
    job = claimed(run, Stage.POLL, [new["id"]])[0]
    assert job.collecting_age_s < 3600 < job.request_age_s
    assert not job.is_start_known


def test_an_unknown_call_is_sent_again_under_its_id(engine: Engine, run: Run) -> None:
    batch = ended(engine, UNKNOWN)
    assert retry(engine, batch) == Retried(0, 1, {}, {})
    old, new = pair(engine)
    assert (new["state"], new["hold"], new["poll_url"]) == ("submitting", "idle", None)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET hold = 'sent' WHERE state = 'submitting'"))
    job = claimed(run, Stage.SUBMIT, [new["id"]])[0]
    assert (job.client_request_id, job.is_first_request) == (old["client_request_id"], False)


def test_an_unknown_call_that_is_too_old_is_left(engine: Engine) -> None:
    batch = ended(engine, UNKNOWN_AND_OLD)
    before = rows(engine)
    assert retry(engine, batch) == Retried(0, 0, {"needs_review": 1}, {})
    assert rows(engine) == before
    assert view(engine, batch).status is BatchStatus.FAILED


def test_paying_again_pays_for_nothing_that_a_free_try_may_bring(engine: Engine) -> None:
    batch = ended(engine, GIVEN_UP_STORING, UNKNOWN, UNKNOWN_AND_OLD)
    assert retry(engine, batch, pay_again=True) == Retried(1, 2, {}, {})
    states = {row["custom_id"]: row["state"] for row in rows(engine) if row["retry_of"]}
    assert states == {"0": "running", "1": "submitting", "2": "queued"}
    assert view(engine, batch).spent_usd == Decimal("0.12")  # of the one that is left alone; two charges moved on


def test_what_was_collected_in_vain_is_called_anew_for_another_charge(engine: Engine) -> None:
    batch = ended(engine, GIVEN_UP_STORING | {"client_request_id": "'of-another'"})
    assert retry(engine, batch, pay_again=True) == Retried(1, 0, {}, {})
    old, new = pair(engine)
    assert (new["state"], new["client_request_id"]) == ("queued", new["id"].hex)
    assert old["cost_usd"] == Decimal("0.12")


def test_what_is_collected_again_holds_up_nobody(engine: Engine) -> None:
    batch = ended(engine, *[GIVEN_UP_STORING] * 40)
    assert retry(engine, batch).collected_again == 40
    with engine.connect() as connection:
        assert in_flight_by_lane(connection) == {}
        due = connection.scalar(text("SELECT count(DISTINCT due_at) FROM jobs WHERE state = 'running'"))
    assert due == 40  # one after the other, not all at once


def test_a_retry_is_held_against_the_queue_of_its_account(engine: Engine) -> None:
    batch = ended(engine, NEVER_CALLED, NEVER_CALLED, NEVER_CALLED)
    with engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET queue_limit = 2"))
    with pytest.raises(QueueFull):
        retry(engine, batch)
    assert len(rows(engine)) == 3


def test_the_old_row_stays_as_it_ended(engine: Engine) -> None:
    batch = ended(engine, FAILED_AT_PHOTA)
    before = rows(engine)[0]
    retry(engine, batch)
    old, new = pair(engine)
    changed = {name for name in before if before[name] != old[name]}
    assert changed == {"superseded_at", "idempotency_key"}
    assert (new["retry_of"], new["generation"]) == (old["id"], 2)


def test_the_next_generation_is_the_same_job(engine: Engine) -> None:
    batch = ended(engine, FAILED_AT_PHOTA)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE jobs SET expires_at = now(), webhook_url = 'http://127.0.0.1:1/', "
                """metadata = '{"a": "b"}', source = '{"path": "1.jpg"}', priority = 2"""
            )
        )
    retry(engine, batch)
    old, new = pair(engine)
    same = ("batch_id", "custom_id", "operation", "params", "output", "source", "priority", "webhook_url", "metadata")
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert (new["idempotency_key"], new["expires_at"], new["error_code"]) == ("key 0", None, None)


def test_rejected_jobs_are_retried_by_their_code_alone(engine: Engine) -> None:
    batch = ended(engine, REJECTED, FAILED_AT_PHOTA, NEVER_CALLED)
    assert retry(engine, batch).retried == 2
    assert retry(engine, batch).retried == 0
    assert retry(engine, batch, code="content_moderation").retried == 1


def test_a_code_that_nothing_failed_with_changes_nothing(engine: Engine) -> None:
    batch = ended(engine, FAILED_AT_PHOTA)
    assert retry(engine, batch, code="timeout") == Retried(0, 0, {}, {})
    assert view(engine, batch).finished_at is not None


def test_the_trace_of_what_was_never_queued_is_no_job_to_retry(engine: Engine) -> None:
    batch = add_batch(engine, 0)
    with engine.begin() as connection:
        params = {"image": "s3://photos/1.jpg"}
        insert_rejected(
            connection, operation="enhance", params=params, problem=Problem("priority", "bad", "no"), batch=batch
        )
    assert retry(engine, batch, code="bad", pay_again=True) == Retried(0, 0, {}, {"bad": 1})
    assert len(rows(engine)) == 1


def test_counts_go_over_and_the_batch_ends_anew(engine: Engine, run: Run) -> None:
    batch = ended(engine, FAILED_AT_PHOTA, NEVER_CALLED, webhook_url="http://127.0.0.1:1/")
    retry(engine, batch)
    running = view(engine, batch)
    assert (running.status.is_final, running.counts["queued"], running.counts["total"]) == (False, 2, 2)
    assert running.errors == []
    settle_all(engine, batch)
    assert not view(engine, batch).status.is_final
    succeed(run, admit_all(engine))
    settle_all(engine, batch)
    done = view(engine, batch)
    assert (done.status, done.counts["succeeded"], done.counts["total"]) == (BatchStatus.COMPLETED, 2, 2)
    with engine.connect() as connection:
        types = connection.execute(text("SELECT type FROM deliveries ORDER BY seq")).scalars().all()
    assert types == ["batch.failed", "batch.completed"]


def succeed(run: Run, ids: Sequence[uuid.UUID], stage: Stage = Stage.SUBMIT) -> None:
    moves = [
        Move(job.id, job.version, JobState.SUCCEEDED, None, cost_usd=Decimal("0.12"))
        for job in claimed(run, stage, ids)
    ]
    run(lambda connection: record(connection, moves))


def test_a_charge_moves_with_the_job_it_belongs_to(engine: Engine, run: Run) -> None:
    batch = ended(engine, GIVEN_UP_STORING, limits=BatchLimits(budget_usd=Decimal("0.12")))
    assert view(engine, batch).spent_usd == Decimal("0.12")
    retry(engine, batch)
    during = view(engine, batch)
    assert (during.spent_usd, during.reserved_usd) == (Decimal(0), Decimal("0.12"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET hold = 'sent' WHERE state = 'running'"))
    succeed(run, [rows(engine)[1]["id"]], Stage.POLL)
    settle_all(engine, batch)
    assert (view(engine, batch).spent_usd, view(engine, batch).status) == (Decimal("0.12"), BatchStatus.COMPLETED)


def test_a_retry_of_a_batch_that_runs_leaves_its_other_jobs(engine: Engine) -> None:
    batch = add_batch(engine, 3)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE jobs SET state = 'failed', due_at = NULL, finished_at = now() WHERE custom_id = '1'")
        )
    assert retry(engine, batch).retried == 1
    assert view(engine, batch).counts["queued"] == view(engine, batch).counts["total"] == 3


def test_a_generation_can_fail_and_be_retried_again(engine: Engine) -> None:
    batch = ended(engine, FAILED_AT_PHOTA)
    for generation in (2, 3, 4):
        assert retry(engine, batch).retried == 1
        assert rows(engine)[-1]["generation"] == generation
        with engine.begin() as connection:
            connection.execute(
                text("UPDATE jobs SET state = 'failed', due_at = NULL, finished_at = now() WHERE state = 'queued'")
            )
        settle_all(engine, batch)
    assert view(engine, batch).counts["total"] == 1


def test_nobody_sees_a_superseded_job_where_results_are_shown(engine: Engine) -> None:
    batch = ended(engine, FAILED_AT_PHOTA, REJECTED)
    retry(engine, batch)
    with engine.connect() as connection:
        assert [job.custom_id for job in finished_jobs(connection, batch.id)] == ["1"]
        assert custom_ids(connection, batch.id) == {"0", "1"}
        assert [group.code for group in failure_groups(connection, batch.id)] == ["content_moderation"]
    assert [error["code"] for error in view(engine, batch).errors] == ["content_moderation"]


def test_a_known_key_leads_to_the_newest_generation(engine: Engine) -> None:
    batch = ended(engine, FAILED_AT_PHOTA)
    retry(engine, batch)
    job = {"operation": "enhance", "params": {"image": "s3://photos/1.jpg"}, "idempotency_key": "key 0"}
    with engine.begin() as connection:
        again = submit(job, session=connection)[0]
    assert (again.id, again.is_new) == (rows(engine)[-1]["id"], False)


def test_two_retries_at_once_make_one_generation(engine: Engine) -> None:
    batch = ended(engine, *[FAILED_AT_PHOTA] * 20)
    done: list[Retried] = []
    threads = [threading.Thread(target=lambda: done.append(retry(engine, batch))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.retried for each in done) == [0, 0, 0, 20]
    assert len(rows(engine)) == 40


def test_a_row_that_another_transaction_takes_is_not_taken_twice(engine: Engine) -> None:
    """Even without the lock on the batch."""
    batch = ended(engine, *[FAILED_AT_PHOTA] * 3)
    choice = Choice(code=None, pay_again=False, known_for_s=3600)
    taken: list[int] = []

    def take() -> None:
        with engine.begin() as connection:
            taken.append(len(supersede(connection, batch.id, choice, after=uuid.UUID(int=0))))

    with engine.begin() as connection:
        taken.append(len(supersede(connection, batch.id, choice, after=uuid.UUID(int=0))))
        second = threading.Thread(target=take)
        second.start()
        assert eventually_waiting(engine)
    second.join()
    assert taken == [3, 0]


def eventually_waiting(engine: Engine) -> bool:
    """Until some session waits for a lock."""
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with engine.connect() as connection:
        for _ in range(2000):
            if connection.scalar(query):
                return True
            connection.rollback()
    return False


def test_a_retry_takes_bite_after_bite(engine: Engine) -> None:
    batch = ended(engine, *[FAILED_AT_PHOTA] * 7)
    choice = Choice(code=None, pay_again=False, known_for_s=3600)
    after, sizes = uuid.UUID(int=0), []
    with engine.begin() as connection:
        while bite := supersede(connection, batch.id, choice, after=after, bite=3):
            sizes.append(len(bite))
            after = max(old.id for old in bite)
    assert sizes == [3, 3, 1]


def test_a_batch_is_not_settled_by_what_was_read_before_its_retry(engine: Engine) -> None:
    """The settling dispatcher waits for nobody: a batch that is being retried is passed over."""
    batch = ended(engine, FAILED_AT_PHOTA)
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET outcome = NULL, finished_at = NULL"))
    with engine.begin() as connection:
        retry_batch(connection, batch.id)
        settle_all(engine, batch)
        assert not view(engine, batch).status.is_final
    settle_all(engine, batch)
    assert view(engine, batch).counts["queued"] == 1
    assert not view(engine, batch).status.is_final


def test_failures_are_grouped_by_code_with_their_commonest_message(engine: Engine) -> None:
    batch = ended(engine, FAILED_AT_PHOTA, FAILED_AT_PHOTA, FAILED_AT_PHOTA, REJECTED)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET error_message = 'rare' WHERE custom_id = '0'"))
        groups = failure_groups(connection, batch.id)
    assert [(group.code, group.count, group.message) for group in groups] == [
        ("model_overloaded", 3, "it did not work"),
        ("content_moderation", 1, "it did not work"),
    ]
