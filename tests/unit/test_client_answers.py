"""What the client of the HTTP API makes of answers: typed objects, and errors that say what to do."""

import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

import photabatch
from api import schemas
from models.states import BatchStatus as ServerStatus
from models.states import JobState as ServerState
from photabatch import (
    ApiError,
    BatchStatus,
    Conflict,
    Counts,
    ErrorCount,
    Forbidden,
    Invalid,
    JobError,
    JobState,
    LineError,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from tests.unit.client_fake import BATCH, ESTIMATED, SUBMITTED, UPLOADED, Answer, Connect, FakeApi, both, problem

JOB: dict[str, Any] = {
    "id": "j1",
    "batch_id": "b1",
    "custom_id": "a/1.jpg",
    "operation": "enhance",
    "params": {"num_output_images": 2},
    "state": "succeeded",
    "priority": "bulk",
    "generation": 1,
    "retry_of": None,
    "superseded_by": None,
    "metadata": {"k": "v"},
    "source": None,
    "cost_usd": 0.1,
    "estimate_usd": 0.13,
    "known_subjects": None,
    "error": None,
    "outputs": [{"index": 0, "key": "a/1.jpg", "bytes": 7, "sha256": "ab", "url": "https://s3/x", "blurhash": "new"}],
    "attempts": [{"stage": "submit", "started_at": "2026-05-01T12:00:00Z", "duration_ms": 31, "http_status": 202}],
    "created_at": "2026-05-01T12:00:00+00:00",
    "finished_at": None,
    "brand_new": {"a": 1},
}


def told(connect: Connect, answer: Answer, name: str, *arguments: Any) -> Any:
    with connect(FakeApi(answer), retry=photabatch.Retry(tries=1)) as client:
        return getattr(client, name)(*arguments)


def test_the_words_are_those_of_the_server() -> None:
    assert {state.value: state.is_final for state in ServerState} == {s.value: s.is_final for s in JobState}
    assert {state.value: state.is_good for state in ServerState} == {s.value: s.is_good for s in JobState}
    assert {status.value: status.is_final for status in ServerStatus} == {s.value: s.is_final for s in BatchStatus}
    assert {state.value for state in ServerState} | {"total"} == set(Counts.__dataclass_fields__)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (photabatch.Batch, schemas.Batch),
        (photabatch.Forecast, schemas.Forecast),
        (photabatch.Job, schemas.Job),
        (photabatch.Output, schemas.Output),
        (photabatch.Estimate, schemas.Estimate),
    ],
)
def test_every_field_of_the_servers_objects_is_read(ours: type[Any], theirs: type[BaseModel]) -> None:
    known = set(ours.__dataclass_fields__)
    assert set(theirs.model_fields) - known <= ({"errors"} if ours is photabatch.Estimate else set())


@both
def test_limits_and_a_forecast_are_read(connect: Connect) -> None:
    ahead = {"finishes_at": "2026-05-02T01:00:00Z", "jobs_per_s": 1.5, "meets_deadline": True}
    told_of = {"deadline": "2026-05-02T02:00:00Z", "waits_until": "2026-05-01T20:00:00Z", "waiting_for": "window"}
    batch = told(connect, BATCH | told_of | {"window": "22:00-06:00@UTC", "forecast": ahead}, "batch", "b1")
    assert batch.forecast == photabatch.Forecast(datetime(2026, 5, 2, 1, tzinfo=UTC), 1.5, True)
    assert (batch.deadline, batch.waits_until) == (
        datetime(2026, 5, 2, 2, tzinfo=UTC),
        datetime(2026, 5, 1, 20, tzinfo=UTC),
    )
    assert (batch.window, batch.waiting_for, batch.max_failure_rate) == ("22:00-06:00@UTC", "window", None)
    assert told(connect, BATCH, "batch", "b1").forecast is None


@both
def test_a_job_is_read(connect: Connect) -> None:
    job = told(connect, JOB, "job", "j1")
    assert (job.state, job.cost_usd, job.estimate_usd) == (JobState.SUCCEEDED, Decimal("0.1"), Decimal("0.13"))
    assert (job.created_at, job.finished_at) == (datetime(2026, 5, 1, 12, tzinfo=UTC), None)
    assert (job.outputs[0].url, job.outputs[0].bytes, job.known_subjects) == ("https://s3/x", 7, {})
    assert (job.attempts[0].http_status, job.attempts[0].started_at) == (202, datetime(2026, 5, 1, 12, tzinfo=UTC))
    failed = told(connect, JOB | {"state": "failed", "error": {"code": "timeout", "message": "m"}}, "job", "j1")
    assert failed.error == JobError("timeout", "m")


@both
def test_a_batch_is_read(connect: Connect) -> None:
    batch = told(connect, BATCH, "batch", "b1")
    assert (batch.status, batch.is_final, batch.name) == (BatchStatus.RUNNING, False, "trip")
    assert batch.counts == Counts(queued=1, succeeded=2, total=3)
    assert (batch.cost_usd.spent, batch.budget_usd) == (Decimal("0.2"), Decimal("1.1"))
    assert batch.errors == (ErrorCount("timeout", "m", 4),)
    unnamed = told(connect, BATCH | {"errors": [{"code": None, "message": None, "count": 1}]}, "batch", "b1")
    assert unnamed.errors == (ErrorCount("", "", 1),)
    with pytest.raises(AttributeError):
        batch.name = "other"


@both
def test_a_submission_tells_which_lines_are_bad(connect: Connect) -> None:
    line: dict[str, Any] = {
        "line": 3,
        "param": "params.image",
        "code": "bad_url",
        "message": "image: must begin with https://",
    }
    batch = told(connect, SUBMITTED | {"invalid": 1, "errors": [line, *BATCH["errors"]]}, "submit_batch", [])
    assert (batch.accepted, batch.invalid, batch.errors) == (3, 1, (ErrorCount("timeout", "m", 4),))
    assert batch.line_errors == (LineError("bad_url", line["message"], "params.image", line=3),)


@both
def test_verbs_tell_what_they_did(connect: Connect) -> None:
    assert told(connect, BATCH | {"in_flight": 4}, "cancel", "b1").in_flight == 4
    retried = told(connect, BATCH | {"retried": 2, "collected_again": 1, "left": {"needs_review": 3}}, "retry", "b1")
    assert (retried.retried, retried.collected_again, retried.left) == (2, 1, {"needs_review": 3})


@both
def test_an_estimate_is_read(connect: Connect) -> None:
    answer = {"jobs": 3, "cost_usd": {"low": 0.1, "high": 0.3}, "warnings": [{"code": "costly", "message": "m"}]}
    estimate = told(connect, answer, "estimate", [])
    assert (estimate.jobs, estimate.cost_usd.low, estimate.cost_usd.high) == (3, Decimal("0.1"), Decimal("0.3"))
    assert estimate.warnings[0].code == "costly"
    assert told(connect, UPLOADED, "upload", b"").image == "s3://photabatch/inputs/a.jpg"


@both
def test_an_estimate_says_what_it_left_out(connect: Connect) -> None:
    fault = {"line": 2, "param": "params.image", "code": "missing", "message": "image: is missing"}
    estimate = told(connect, ESTIMATED | {"invalid": 1, "errors": [fault]}, "estimate", [])
    assert (estimate.invalid, [(error.line, error.code) for error in estimate.line_errors]) == (1, [(2, "missing")])
    assert told(connect, ESTIMATED, "estimate", []).line_errors == ()


@both
def test_words_of_a_newer_server_are_taken(connect: Connect) -> None:
    job = told(connect, {"id": "j1", "state": "frozen"}, "job", "j1")
    assert (job.state, str(job.state), job.state.is_final) == ("frozen", "frozen", False)
    assert told(connect, {"id": "b1", "status": "melting"}, "batch", "b1").status == "melting"


@both
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (405, ApiError),
        (409, Conflict),
        (413, Invalid),
        (415, Invalid),
        (422, Invalid),
        (429, TooManyRequests),
        (500, ApiError),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
    ],
)
def test_a_refusal_says_what_to_do(connect: Connect, status: int, kind: type[ApiError]) -> None:
    with pytest.raises(ApiError) as caught:
        told(connect, problem(status, "some_code", "Send JSON.", headers={"Retry-After": "9"}), "batch", "b1")
    error = caught.value
    assert (type(error), error.status, error.code, error.retry_after) == (kind, status, "some_code", 9)
    assert str(error) == f"Send JSON. ({status} some_code, GET /photabatch/v1/batches/b1)"


@both
def test_bad_jobs_are_named(connect: Connect) -> None:
    faults = [{"line": n, "param": "params.image", "code": "bad_url", "message": f"image: {n}"} for n in range(1, 6)]
    with pytest.raises(Invalid) as caught:
        told(connect, problem(422, "invalid_jobs", "5 jobs are bad.", errors=faults), "submit_batch", [])
    assert caught.value.errors[4] == LineError("bad_url", "image: 5", "params.image", line=5)
    assert "5 jobs are bad. line 1: image: 1; line 2: image: 2; line 3: image: 3 and 2 more (422" in str(caught.value)


@both
@pytest.mark.parametrize(
    ("answer", "code", "detail"),
    [
        (httpx.Response(502, html="<html>oops"), "http_502", "the API answered Bad Gateway"),
        (httpx.Response(500, text="out of disk"), "http_500", "out of disk"),
        (httpx.Response(404, json=["?"]), "http_404", "the API answered Not Found"),
        (httpx.Response(422, json={"errors": "?"}), "http_422", "the API answered Unprocessable Entity"),
    ],
)
def test_an_answer_of_something_in_between_is_an_error_too(
    connect: Connect, answer: httpx.Response, code: str, detail: str
) -> None:
    with pytest.raises(ApiError) as caught:
        told(connect, answer, "batch", "b1")
    assert (caught.value.code, caught.value.detail) == (code, detail)


@both
@pytest.mark.parametrize("body", ["<html>", "[]", "null", "{}", '{"id": "b1"}', '{"id": 1, "status": 2}'])
def test_what_cannot_be_read_is_told(connect: Connect, body: str) -> None:
    with pytest.raises(ApiError, match="cannot be read") as caught:
        told(connect, httpx.Response(200, text=body), "batch", "b1")
    assert caught.value.code == "unreadable_answer"


@pytest.mark.parametrize("name", ["Invalid", "ConnectionFailed", "DownloadFailed", "NoPhotos", "WaitTimeout"])
def test_errors_travel_between_processes(name: str) -> None:
    error = getattr(photabatch, name)("why")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_key_is_in_no_text() -> None:
    client = photabatch.Client("http://127.0.0.1:1", "pb_canary")
    assert "canary" not in repr(vars(client)) + repr(vars(client._session))
    assert "canary" in json.dumps(client._session._settings.headers())
