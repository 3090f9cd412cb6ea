"""A world in which all is well has no violation; each kind of violation, planted, is found."""

import hashlib
import io
import uuid
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image

from chaos.oracle import Verdict, judge_charges, judge_numbers, judge_states, strangers
from chaos.oracle_batches import judge_accounts, judge_batches
from chaos.oracle_events import judge_events
from chaos.oracle_pictures import asked_otherwise, missing_outputs, picture_fault
from chaos.receiver import Listener, Told
from models import DEFAULT_ACCOUNT
from models.states import JobState

Fields = dict[str, Any]
_PRICE = Decimal("0.12")
_HOST = "http://127.0.0.1:1"


class Scene:
    """What the oracle reads of a batch of two jobs that succeeded, told at `/all` and, job by job, at `/each`."""

    def __init__(self) -> None:
        self.batch: Fields = {
            "id": uuid.uuid4(), "slug": "boats", "account_id": DEFAULT_ACCOUNT, "status": "completed",
            "is_closed": True, "is_cancelled": False, "is_started": True, "budget_usd": Decimal(1),
            "created_s": 50.0, "spent_usd": 2 * _PRICE, "reserved_usd": Decimal(0), "total": 2,
            "webhook_url": f"{_HOST}/each", "webhook_events": ["job.succeeded", "job.failed"],
            "progress": {state.value: 0 for state in JobState} | {"succeeded": 2},
        }  # fmt: skip
        self.jobs = [self.job("0"), self.job("1")]
        self.finals = {job["id"]: [job["state"]] for job in self.jobs}
        self.ledger = [self.charge(job) for job in self.jobs]
        self.moves = [self.move("running"), self.move("completed")]
        self.listeners = [Listener("/all"), Listener("/later", since_s=60.0)]
        self.deliveries: list[Fields] = []
        self.told: dict[tuple[str, str], Told] = {}
        for path in ("/all", "/each"):
            self.tell(path, "batch.started")
            for job in self.jobs:
                self.tell(path, "job.succeeded", job)
            self.tell(path, "batch.completed")

    def job(self, custom_id: str, **others: Any) -> Fields:
        job_id = uuid.uuid4()
        return {
            "id": job_id, "state": "succeeded", "client_request_id": job_id.hex, "cost_usd": _PRICE,
            "error_code": None, "is_superseded": False, "retry_of": None, "custom_id": custom_id,
            "batch_id": self.batch["id"], "slug": "boats", "account_id": DEFAULT_ACCOUNT, "estimate_usd": _PRICE,
            "is_of_cancelled": False, "prompt": f"boat {custom_id}", **others,
        }  # fmt: skip

    def charge(self, job: Fields) -> Fields:
        return {"client_request_id": job["client_request_id"], "cost_usd": float(_PRICE), "at": 100.0, "outputs": 1}

    def move(self, status: str, *, unfinished: int = 0) -> Fields:
        return {"batch_id": self.batch["id"], "slug": "boats", "status": status, "unfinished": unfinished}

    def tell(self, path: str, event: str, job: Fields | None = None) -> None:
        delivery_id = uuid.uuid4()
        self.deliveries.append({
            "id": delivery_id, "seq": len(self.deliveries), "type": event, "state": "delivered",
            "url": f"{_HOST}{path}", "digest_id": None,
            "job_id": job and job["id"], "batch_id": None if job else self.batch["id"],
        })  # fmt: skip
        jobs = ((str(job["id"]), job["state"]),) if job else ()
        batch = None if job else str(self.batch["id"])
        self.told[path, f"msg_{delivery_id.hex}"] = Told(event, len(self.told) + 1, jobs, batch)

    def forget(self, path: str, event: str) -> None:
        """As if the outbox had never had it."""
        gone = (f"{_HOST}{path}", event)
        self.deliveries = [row for row in self.deliveries if (row["url"], row["type"]) != gone]
        self.told = {key: told for key, told in self.told.items() if (key[0], told.type) != (path, event)}

    def judged(self, *, accepted: int = 2, allows_review: bool = False) -> Fields:
        """The violations that were found, and their numbers."""
        verdict = Verdict()
        judge_numbers(self.jobs, accepted, verdict)
        judge_states(self.jobs, self.finals, verdict)
        judge_charges(self.jobs, self.ledger, verdict, allows_review=allows_review)
        verdict.take(judge_batches(self.jobs, [self.batch], self.moves))
        events = (self.jobs, [self.batch], self.moves, self.deliveries, self.told)
        verdict.take(judge_events(*events, listeners=self.listeners))
        assert verdict.violations == 0 or verdict.examples
        numbers = {name: value for name, value in vars(verdict).items() if name not in ("jobs", "examples")}
        return {name: value for name, value in numbers.items() if value}


@pytest.fixture
def scene() -> Scene:
    return Scene()


def retried(scene: Scene, **others: Any) -> Fields:
    """The first job has failed, and a next generation took its place."""
    first = scene.jobs[0]
    first |= {"state": "failed", "is_superseded": True, "cost_usd": None}
    again = scene.job("0", retry_of=first["id"], **others)
    scene.jobs.append(again)
    scene.finals |= {first["id"]: ["failed"], again["id"]: ["succeeded"]}
    return again


def test_all_is_well(scene: Scene) -> None:
    assert scene.judged() == {}
    assert strangers(scene.jobs, scene.ledger, since_s=0.0) == set()


def test_a_job_that_is_not_in_the_table_is_lost(scene: Scene) -> None:
    assert scene.judged(accepted=3) == {"lost": 1}


def test_a_job_that_does_not_end_is_lost(scene: Scene) -> None:
    scene.jobs[0]["state"] = "running"
    assert scene.judged()["lost"] == 1


def test_one_lost_and_one_doubled_do_not_cancel_out(scene: Scene) -> None:
    scene.jobs[1]["custom_id"] = "0"
    assert scene.judged() == {"lost": 1}


def test_a_retry_is_no_double(scene: Scene) -> None:
    verdict = Verdict()
    retried(scene)
    judge_numbers(scene.jobs, 2, verdict)
    assert verdict.violations == 0


def test_a_paid_job_without_its_picture_is_lost(scene: Scene) -> None:
    scene.jobs[0] |= {"state": "failed", "error_code": "needs_review"}
    verdict = Verdict()
    judge_charges(scene.jobs, scene.ledger, verdict, allows_review=False)
    assert verdict.lost == 1


def test_where_faults_allow_it_a_person_may_be_asked(scene: Scene) -> None:
    scene.jobs[0] |= {"state": "failed", "error_code": "needs_review"}
    verdict = Verdict()
    judge_charges(scene.jobs, scene.ledger, verdict, allows_review=True)
    assert verdict.violations == 0


def test_two_charges_of_a_job_are_found(scene: Scene) -> None:
    scene.ledger.append(scene.charge(scene.jobs[0]))
    assert scene.judged()["charged_twice"] == 1


def test_a_charge_of_each_of_two_generations_is_found(scene: Scene) -> None:
    scene.ledger.append(scene.charge(retried(scene)))
    assert scene.judged()["charged_twice"] == 1


def test_generations_that_share_a_call_are_charged_once(scene: Scene) -> None:
    retried(scene, client_request_id=scene.jobs[0]["client_request_id"])
    assert "charged_twice" not in scene.judged()


def test_a_charge_of_a_job_that_was_never_called_is_found(scene: Scene) -> None:
    scene.jobs[0] |= {"state": "cancelled", "is_of_cancelled": True}
    assert scene.judged()["charged_wrongly"] == 1


def test_a_job_that_nobody_cancelled_is_lost(scene: Scene) -> None:
    scene.jobs[0]["state"] = "cancelled"
    assert scene.judged()["lost"] == 1


def test_a_charge_of_no_job_is_found(scene: Scene) -> None:
    scene.ledger.append({"client_request_id": "nobody", "at": 100.0})
    assert strangers(scene.jobs, scene.ledger, since_s=50.0) == {"nobody"}


def test_a_charge_from_before_is_not_blamed_on_the_row(scene: Scene) -> None:
    scene.ledger.append({"client_request_id": "nobody", "at": 40.0})
    assert strangers(scene.jobs, scene.ledger, since_s=50.0) == set()


def test_a_success_that_nobody_charged_is_found(scene: Scene) -> None:
    scene.ledger.pop()
    assert scene.judged()["unpaid"] == 1


@pytest.mark.parametrize("seen", [["failed", "succeeded"], ["succeeded", "succeeded, rewritten"], []])
def test_a_final_state_is_entered_once_and_stays(scene: Scene, seen: list[str]) -> None:
    scene.finals[scene.jobs[0]["id"]] = seen
    assert scene.judged() == {"two_finals": 1}


def test_a_state_told_that_is_not_the_rows_is_found(scene: Scene) -> None:
    key, event = next(item for item in scene.told.items() if item[1].jobs)
    scene.told[key] = Told(event.type, event.order, ((event.jobs[0][0], "failed"),))
    assert scene.judged() == {"two_finals": 1}


@pytest.mark.parametrize(("paid", "kept", "faults"), [(1, 1, 0), (1, 0, 1), (3, 3, 0), (3, 2, 1), (1, 2, 1)])
def test_a_success_has_every_picture_that_was_paid(scene: Scene, paid: int, kept: int, faults: int) -> None:
    scene.ledger[0]["outputs"] = paid
    outputs = [{"id": scene.jobs[0]["id"]}] * kept + [{"id": scene.jobs[1]["id"]}]
    assert len(list(missing_outputs(scene.jobs, outputs, scene.ledger))) == faults


def test_a_call_with_the_prompt_of_another_job_is_found(scene: Scene) -> None:
    first, second = (job["client_request_id"] for job in scene.jobs)
    right = [{"client_request_id": first, "params": {"prompt": "boat 0"}}]
    assert list(asked_otherwise(scene.jobs, right)) == []
    assert len(list(asked_otherwise(scene.jobs, [right[0] | {"client_request_id": second}]))) == 1


def picture(comment: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "JPEG", comment=comment.encode())
    return data.getvalue()


def stored(data: bytes, **others: Any) -> Fields:
    """The row of an object."""
    sha256 = hashlib.sha256(data).hexdigest()
    row = {"id": "1", "key": "a.jpg", "state": "succeeded", "client_request_id": "mine", "bytes": len(data)}
    return row | {"sha256": sha256} | others


def test_a_picture_that_is_its_rows_is_fine() -> None:
    data = picture("job-1")
    assert picture_fault(stored(data), data, {"mine": ["job-1"]}) is None


def test_what_is_wrong_with_a_picture_is_found() -> None:
    data, made_by = picture("job-1"), {"mine": ["job-1"], "other": ["job-2"]}
    assert "not those of its row" in str(picture_fault(stored(data), data[:-9], made_by))
    assert "that is failed" in str(picture_fault(stored(data, state="failed"), data, made_by))
    assert "of another job" in str(picture_fault(stored(data, client_request_id="other"), data, made_by))
    half = data[:-40]
    assert "truncated" in str(picture_fault(stored(half), half, made_by)).lower()


@pytest.mark.parametrize(
    ("path", "event", "count"),
    [("/all", "job.succeeded", 2), ("/each", "job.succeeded", 2), ("/all", "batch.completed", 1),
     ("/each", "batch.completed", 1), ("/all", "batch.started", 1)],
)  # fmt: skip
def test_an_event_that_the_outbox_never_had_is_found(scene: Scene, path: str, event: str, count: int) -> None:
    scene.forget(path, event)
    assert scene.judged() == {"undelivered": count}


@pytest.mark.parametrize("event", ["batch.completed", "job.succeeded"])
def test_an_event_that_the_outbox_has_twice_is_found(scene: Scene, event: str) -> None:
    scene.tell("/all", event, scene.jobs[0] if event.startswith("job") else None)
    assert scene.judged() == {"undelivered": 1}


def test_each_end_of_a_batch_that_was_retried_is_told(scene: Scene) -> None:
    scene.moves += [scene.move("paused"), scene.move("running"), scene.move("completed")]
    assert scene.judged() == {"undelivered": 4}  # a pause and an end, at two addresses
    for path in ("/all", "/each"):
        scene.tell(path, "batch.paused")
        scene.tell(path, "batch.completed")
    assert scene.judged() == {}


def test_an_address_is_told_of_batches_opened_since_it_was_registered(scene: Scene) -> None:
    scene.batch["created_s"] = 61.0
    assert scene.judged() == {"undelivered": 4}  # a beginning, an end, two jobs


def test_what_is_told_under_an_id_of_no_event_is_found(scene: Scene) -> None:
    (path, _), event = next(item for item in scene.told.items() if item[1].jobs)
    scene.told[path, "msg_other"] = event
    assert scene.judged() == {"out_of_order": 1}


def test_what_a_batch_does_not_ask_for_is_not_missed(scene: Scene) -> None:
    scene.batch["webhook_events"] = ["job.failed"]
    scene.forget("/each", "job.succeeded")
    assert scene.judged() == {}


def test_an_event_that_is_not_delivered_is_found(scene: Scene) -> None:
    scene.deliveries[0]["state"] = "failed"
    assert scene.judged() == {"undelivered": 1}


def test_an_event_that_only_the_outbox_calls_delivered_is_found(scene: Scene) -> None:
    del scene.told[next(key for key, event in scene.told.items() if event.jobs)]
    assert scene.judged() == {"undelivered": 1}


def test_jobs_told_together_are_told(scene: Scene) -> None:
    digest = uuid.uuid4()
    rows = [row for row in scene.deliveries if row["job_id"] and row["url"].endswith("/all")]
    for row in rows:
        row["digest_id"] = digest
        del scene.told["/all", f"msg_{row['id'].hex}"]
    members = tuple((str(row["job_id"]), "succeeded") for row in rows)
    scene.told["/all", f"msg_{digest.hex}"] = Told("job.digest", 9, members)
    assert scene.judged() == {}
    scene.told["/all", f"msg_{digest.hex}"] = Told("job.digest", 9, members[:1])
    assert scene.judged() == {"undelivered": 1}


def test_an_end_told_before_its_beginning_is_found(scene: Scene) -> None:
    key, event = next(item for item in scene.told.items() if item[1].type == "batch.completed")
    scene.told[key] = Told(event.type, 0, (), event.batch)
    assert scene.judged() == {"out_of_order": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"total": 3},
        {"spent_usd": Decimal("0.36")},
        {"reserved_usd": _PRICE},
        {"budget_usd": _PRICE},
        {"progress": {state.value: 0 for state in JobState}},
    ],
    ids=["a total", "money spent", "money reserved", "more than the budget", "a count"],
)
def test_a_number_that_is_not_the_jobs_is_found(scene: Scene, wrong: Fields) -> None:
    scene.batch |= wrong
    assert scene.judged() == {"miscounted": 1}


def test_an_end_that_is_not_the_jobs_is_found(scene: Scene) -> None:
    scene.batch["status"] = scene.moves[-1]["status"] = "completed_with_errors"
    assert scene.judged()["miscounted"] == 1


def test_an_end_that_nobody_saw_is_found(scene: Scene) -> None:
    scene.moves.pop()
    assert scene.judged() == {"miscounted": 1}


def test_a_cost_that_is_not_the_charge_is_found(scene: Scene) -> None:
    scene.jobs[0]["cost_usd"] = scene.batch["spent_usd"] = Decimal("0.5")
    scene.jobs[1]["cost_usd"] = Decimal(0)
    assert scene.judged() == {"miscounted": 2}


def test_an_end_while_jobs_are_under_way_is_found(scene: Scene) -> None:
    scene.moves[-1]["unfinished"] = 1
    assert scene.judged() == {"miscounted": 1}


def test_an_account_whose_days_are_not_its_jobs_is_found() -> None:
    account = {"name": "default", "booked_usd": Decimal("0.24"), "spent_usd": Decimal("0.24")}
    assert list(judge_accounts([account])) == []
    assert len(list(judge_accounts([account | {"spent_usd": Decimal("0.12")}]))) == 1


def test_a_few_examples_of_each_kind_are_kept() -> None:
    verdict = Verdict()
    verdict.take(("undelivered", str(number)) for number in range(100))
    assert verdict.undelivered == 100
    assert len(verdict.examples) == 5
