"""What an error makes of a job: pure, so every case is tried."""

import random
import uuid
from decimal import Decimal
from typing import Any

import pytest

from clients.images import BadImage
from clients.phota import (
    BadResult,
    GateClosed,
    JobFailed,
    JobLost,
    Rejected,
    ResultExpired,
    Throttled,
    Uncertain,
)
from clients.phota_problems import InvalidRequest, Problem
from clients.remote_images import ImageMissing, ImageRefused, ImageUnavailable
from clients.storage import AccessDenied, ObjectMissing, StorageUnavailable
from models.claims import ClaimedJob, Move
from models.states import JobState
from worker.kit import Kit
from worker.outcomes import after_error
from worker.retry import MAX_ATTEMPTS, PAID_AGE_S

HIGH = Decimal("0.15")


class Quiet:
    """Sightings that go nowhere."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def job(state: JobState = JobState.SUBMITTING, **fields: Any) -> ClaimedJob:
    job_id = uuid.uuid4()
    values: dict[str, Any] = {
        "id": job_id,
        "account_id": uuid.uuid4(),
        "state": state,
        "version": 1,
        "attempt": 0,
        "operation": "enhance",
        "params": {},
        "custom_id": None,
        "output": "s3://photos/{job_id}-{index}.{ext}",
        "batch_slug": None,
        "client_request_id": job_id.hex,
        "is_first_request": True,
        "request_age_s": 60.0,
        "accepted_age_s": 60.0,
        "poll_url": "https://api/jobs/1",
        "result_urls": None,
        "estimate_usd": HIGH,
    }
    return ClaimedJob(**values | fields)


def outcome(of: ClaimedJob, error: Exception, *, is_sync: bool = False) -> Move:
    nothing: Any = None
    kit = Kit(
        phota=nothing,
        storage=nothing,
        webhooks=nothing,
        inspector=nothing,
        sightings=Quiet(),  # type: ignore[arg-type]
        is_sync=is_sync,
        spare_bucket="photabatch",
        sends_links=True,
        random_source=random.Random(1),
    )
    return after_error(of, error, kit)


def lost(is_sent: bool) -> Uncertain:
    return Uncertain("no answer", code="timeout", is_sent=is_sent)


@pytest.mark.parametrize(
    ("error", "state", "attempt"),
    [
        (Throttled("slow down", code="throttled", retry_after=3), JobState.QUEUED, 0),
        (GateClosed("no credit", code="no_credit", reason="no_credit"), JobState.QUEUED, 0),
        (lost(is_sent=False), JobState.QUEUED, 1),
        (lost(is_sent=True), JobState.SUBMITTING, 1),
        (Rejected("forbidden", code="content_moderation"), JobState.REJECTED, 0),
        (BadImage("empty_file", "no bytes"), JobState.REJECTED, 0),
        (ObjectMissing("s3://a/b"), JobState.REJECTED, 0),
        (ImageMissing("https://a/b answered 404"), JobState.REJECTED, 0),
        (ImageRefused("https://a/b"), JobState.REJECTED, 0),
        (ImageUnavailable("https://a/b answered 503"), JobState.QUEUED, 1),
        (StorageUnavailable("down"), JobState.QUEUED, 0),
        (AccessDenied("no"), JobState.QUEUED, 1),
        (RuntimeError("a bug"), JobState.SUBMITTING, 1),
    ],
)
def test_a_first_submit(error: Exception, state: JobState, attempt: int) -> None:
    move = outcome(job(), error)
    assert (move.state, move.attempt) == (state, attempt)


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.STORING])
@pytest.mark.parametrize(
    "error",
    [
        lost(is_sent=True),
        BadResult("half", code="wrong_length"),
        BadImage("truncated_image", "half"),
        StorageUnavailable("down"),
        AccessDenied("no"),
        RuntimeError("a bug"),
        JobLost("404", code="job_lost"),
        Throttled("slow down", code="throttled"),
        GateClosed("key", code="bad_key", reason="bad_key"),
    ],
)
def test_what_is_paid_for_is_not_given_up_by_count(state: JobState, error: Exception) -> None:
    move = outcome(job(state, attempt=MAX_ATTEMPTS + 5), error)
    assert move.state is state
    assert move.due_s is not None


@pytest.mark.parametrize("error", [lost(is_sent=True), StorageUnavailable("down"), RuntimeError("a bug")])
def test_after_a_day_it_is_given_up_and_counts_as_spent(error: Exception) -> None:
    age_s = PAID_AGE_S + 1
    move = outcome(job(JobState.RUNNING, request_age_s=age_s, accepted_age_s=age_s), error)
    assert (move.state, move.cost_usd) == (JobState.FAILED, HIGH)


def test_what_a_retry_asks_for_again_gets_its_time_anew() -> None:
    move = outcome(job(JobState.STORING, request_age_s=3 * PAID_AGE_S, accepted_age_s=60), StorageUnavailable("down"))
    assert move.state is JobState.STORING


def test_a_synchronous_result_is_given_up_by_the_age_of_its_call() -> None:
    move = outcome(job(JobState.STORING, request_age_s=PAID_AGE_S + 1, accepted_age_s=0), StorageUnavailable("down"))
    assert move.state is JobState.FAILED


@pytest.mark.parametrize(
    "error",
    [
        Rejected("conflict", code="conflict"),
        InvalidRequest([Problem("image", "bad_url", "image: is not public")]),
        BadImage("empty_file", "no bytes"),
        ObjectMissing("s3://a/b"),
        ImageMissing("https://a/b answered 404"),
    ],
)
def test_a_refusal_after_a_cut_call_needs_a_person(error: Exception) -> None:
    move = outcome(job(is_first_request=False), error)
    assert (move.state, move.error_code, move.cost_usd) == (JobState.FAILED, "needs_review", HIGH)


def test_a_later_submit_never_goes_back_to_queued() -> None:
    for error in (Throttled("slow", code="throttled"), lost(is_sent=False), StorageUnavailable("down")):
        assert outcome(job(is_first_request=False), error).state is JobState.SUBMITTING


def test_a_cut_synchronous_call_is_not_repeated() -> None:
    move = outcome(job(), lost(is_sent=True), is_sync=True)
    assert (move.state, move.error_code, move.cost_usd) == (JobState.FAILED, "needs_review", HIGH)


def test_a_synchronous_call_that_never_left_is_repeated() -> None:
    assert outcome(job(), lost(is_sent=False), is_sync=True).state is JobState.QUEUED


def test_expired_results_are_asked_for_again() -> None:
    assert outcome(job(JobState.STORING), ResultExpired("403", code="result_expired")).state is JobState.RUNNING


def test_a_job_that_phota_gave_up_costs_nothing() -> None:
    move = outcome(job(JobState.RUNNING), JobFailed("no", code="model_overloaded"))
    assert (move.state, move.cost_usd) == (JobState.FAILED, None)


@pytest.mark.parametrize(("code", "fields"), [("expired", {}), ("failed", {"client_request_id": "of-another"})])
def test_a_job_that_may_have_had_results_once_stays_paid_for(code: str, fields: dict[str, Any]) -> None:
    move = outcome(job(JobState.RUNNING, **fields), JobFailed("no", code=code))
    assert (move.state, move.cost_usd) == (JobState.FAILED, HIGH)


def test_links_of_a_job_collected_again_are_asked_for_within_minutes() -> None:
    again = job(JobState.STORING, client_request_id="of-another", accepted_age_s=601.0, request_age_s=90_000.0)
    assert outcome(again, ResultExpired("403", code="result_expired")).state is JobState.FAILED


@pytest.mark.parametrize(("error", "cost"), [(lost(is_sent=True), HIGH), (ImageUnavailable("away"), None)])
def test_tries_end(error: Exception, cost: Decimal | None) -> None:
    move = outcome(job(attempt=MAX_ATTEMPTS - 1), error)
    assert (move.state, move.cost_usd) == (JobState.FAILED, cost)
