"""One job over HTTP: queued once, and shown with all that became of it."""

import uuid
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from models.accounts import AccountRef, find_account, lock_queue
from models.idempotency import lock_key
from producer.ownership import OPERATOR
from tests.integration.api_fixtures import client_of, key_of, new_account
from tests.integration.ended_jobs import fail, succeed

JOB: dict[str, Any] = {"operation": "enhance", "params": {"image": "s3://photos/1.jpg"}, "metadata": {"album": "7"}}


def submit(api: httpx.Client, job: object = JOB, **headers: str) -> httpx.Response:
    return api.post("/v1/jobs", json=job, headers=headers)


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM jobs")) or 0)


def test_a_job_is_queued_and_found_where_the_answer_says(api: TestClient) -> None:
    answer = submit(api)
    assert (answer.status_code, answer.json()["state"], answer.json()["is_new"]) == (202, "queued", True)
    assert answer.headers["Location"] == answer.json()["status_url"]
    job = api.get(answer.json()["status_url"]).json()
    assert (job["id"], job["state"], job["metadata"]) == (answer.json()["id"], "queued", {"album": "7"})
    assert job["params"] == {"image": "s3://photos/1.jpg", "num_output_images": 1, "output_format": "jpg"}
    assert (job["batch_id"], job["cost_usd"], job["estimate_usd"], job["priority"]) == (None, None, 0.12, "normal")


def test_what_became_of_a_job_is_told_with_links_to_its_outputs(api: TestClient, engine: Engine) -> None:
    job_id = submit(api).json()["id"]
    succeed(engine, job_id, key="a/ü 1-0.jpg")
    job = api.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["cost_usd"], job["known_subjects"], job["error"]) == ("succeeded", 0.12, {"abc": 1}, None)
    assert [(each["stage"], each["duration_ms"]) for each in job["attempts"]] == [("submit", 12)]
    assert job["outputs"][0]["key"] == "a/ü 1-0.jpg"
    assert "X-Amz-Expires=86400" in job["outputs"][0]["url"]
    assert list(job["outputs"][0]) == [
        *("index", "bucket", "key", "content_type", "bytes", "sha256", "width", "height", "url")
    ]
    moments = [job["created_at"], job["finished_at"], job["attempts"][0]["started_at"]]
    assert [moment[-1] for moment in moments] == ["Z"] * 3


def test_a_failed_job_says_why(api: TestClient, engine: Engine) -> None:
    job_id = submit(api).json()["id"]
    fail(engine, job_id, code="moderation_blocked")
    assert api.get(f"/v1/jobs/{job_id}").json()["error"] == {"code": "moderation_blocked", "message": "no"}


def test_a_bad_job_is_refused_with_every_fault(api: TestClient, engine: Engine) -> None:
    answer = submit(api, {"operation": "enhance", "params": {"image": "file:///etc/passwd", "resolution": "4K"}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_jobs")
    assert {fault["param"] for fault in answer.json()["errors"]} == {"params.image", "params.resolution"}
    assert count(engine) == 0


def test_a_field_that_is_unknown_hides_no_other_fault(api: TestClient) -> None:
    params = {"prompt": "p", "num_output_images": 9, "resolution": "8K"}
    answer = submit(api, {"operation": "generate", "params": params, "prioritty": "x", "output": "done/"})
    assert [(fault["param"], fault["message"].partition(": ")[2]) for fault in answer.json()["errors"]][:3] == [
        ("prioritty", "is not a parameter of a job; priority?"),
        ("params.num_output_images", "9 is more than 4"),
        ("params.resolution", "8K is not one of 1K, 2K or 4K"),
    ]
    assert answer.json()["errors"][3]["param"] == "output"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"operation": NaN}'])
def test_what_is_no_json_is_400(api: TestClient, content: bytes) -> None:
    answer = api.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


def test_another_media_type_is_415(api: TestClient) -> None:
    answer = api.post("/v1/jobs", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_the_same_key_replays_and_another_body_conflicts(api: TestClient, engine: Engine) -> None:
    first, again = submit(api, **{"Idempotency-Key": "k"}), submit(api, **{"Idempotency-Key": "k"})
    assert (again.text, again.headers["Idempotent-Replayed"]) == (first.text, "true")
    other = submit(api, JOB | {"custom_id": "other"}, **{"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"], count(engine)) == (409, "idempotency_conflict", 1)


def test_the_same_key_while_the_first_is_at_work_waits(api: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        assert lock_key(connection, OPERATOR.id, "k")
        answer = submit(api, **{"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_progress")
    assert submit(api, **{"Idempotency-Key": "k"}).status_code == 202


def test_a_refusal_is_not_kept_under_its_key(api: TestClient) -> None:
    assert submit(api, {}, **{"Idempotency-Key": "k"}).status_code == 422
    assert submit(api, **{"Idempotency-Key": "k"}).status_code == 202


def test_a_jobs_own_key_names_the_job_in_its_account(api: TestClient, second_api: TestClient, engine: Engine) -> None:
    first, again = submit(api, JOB | {"idempotency_key": "j"}), submit(api, JOB | {"idempotency_key": "j"})
    assert (again.json()["id"], again.json()["is_new"]) == (first.json()["id"], False)
    assert submit(second_api, JOB | {"idempotency_key": "j"}).json()["is_new"] is True
    assert count(engine) == 2


def test_another_accounts_job_is_as_unknown_as_any(api: TestClient, second_api: TestClient) -> None:
    job_id = submit(api).json()["id"]
    answers = [second_api.get(f"/v1/jobs/{each}") for each in (job_id, uuid.uuid4(), "1", "%00", "x" * 400)]
    assert {answer.status_code for answer in answers} == {404}
    assert len({str(answer.json() | {"instance": ""}) for answer in answers}) == 1


def test_reading_alone_does_not_submit(read_only_api: TestClient, engine: Engine) -> None:
    answer = submit(read_only_api)
    assert (answer.status_code, answer.json()["code"], count(engine)) == (403, "missing_scope", 0)


def test_a_full_queue_refuses_until_there_is_room(api: TestClient, engine: Engine) -> None:
    client = client_of(api, key_of(engine, new_account(engine, "small", queue_limit=1)))
    first = submit(client, JOB | {"idempotency_key": "j"})
    answer = submit(client)
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (429, "queue_full", "60")
    assert submit(client, JOB | {"idempotency_key": "j"}).json()["id"] == first.json()["id"]
    succeed(engine, first.json()["id"])
    assert submit(client).status_code == 202


def test_an_account_may_name_only_its_own_objects(api: TestClient, engine: Engine) -> None:
    account = new_account(engine, "tenant", s3_prefixes=("s3://photos/tenant/",))
    client = client_of(api, key_of(engine, account))
    answer = submit(client)
    assert [(fault["param"], fault["code"]) for fault in answer.json()["errors"]] == [("params.image", "not_allowed")]
    assert submit(client, JOB | {"params": {"image": "s3://photos/tenant/1.jpg"}}).status_code == 202


def test_outputs_of_another_account_go_to_its_own_folder(
    second_api: TestClient, engine: Engine, second_account: AccountRef
) -> None:
    submit(second_api)
    with engine.connect() as connection:
        output = connection.scalar(text("SELECT output FROM jobs"))
    assert output == f"s3://photabatch/accounts/{second_account.id}/jobs/{{job_id}}-{{index}}.{{ext}}"


@pytest.mark.parametrize(
    "moment", ["2026-01-01T00:00:00+23:59", "9999-12-31T00:00:00Z", "0001-01-02T00:00:00-15:00", 1e9]
)
def test_any_moment_that_python_knows_postgres_takes(api: TestClient, moment: object) -> None:
    assert submit(api, JOB | {"not_before": moment}).status_code == 202
    assert submit(api, JOB | {"expires_at": moment}).status_code == 202


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+15:00", "9999-12-31T23:00:00-15:00", "2026-01-01", 1e300])
def test_a_moment_that_is_none_is_a_fault(api: TestClient, moment: object) -> None:
    answer = submit(api, JOB | {"expires_at": moment})
    assert [(fault["param"]) for fault in answer.json()["errors"]] == ["expires_at"]


def test_text_that_postgres_cannot_keep_is_refused(api: TestClient) -> None:
    for job in (JOB | {"custom_id": "\0"}, JOB | {"metadata": {"a": "\0"}}, JOB | {"output": "s3://abc/\0/"}):
        assert submit(api, job).status_code == 422
    batch_id = api.post("/v1/batches", json={"jobs": [JOB]}).json()["id"]
    assert api.get(f"/v1/batches/{batch_id}/jobs?code=%00").status_code == 422


def test_a_body_of_megabytes_is_no_job(api: TestClient) -> None:
    answer = api.post("/v1/jobs", content=b"[" + b"[]," * 50_000 + b"[]]", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_who_waits_for_another_request_of_the_account_is_told_so(api: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET queue_limit = 5"))
        account = find_account(connection, "default")
        assert account is not None
    with engine.begin() as connection:
        lock_queue(connection, account)  # as a submission does until its commit
        answer = api.post("/v1/jobs", json={"operation": "generate", "params": {"prompt": "a boat"}})
    assert (answer.status_code, answer.json()["code"]) == (503, "temporarily_unavailable")
    assert "Another request" in answer.json()["detail"]
    assert answer.headers["Retry-After"]
