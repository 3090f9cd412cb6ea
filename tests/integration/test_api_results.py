"""Results over HTTP: lines of what has finished, with links that work."""

import hashlib
import json
import time
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from tests.integration.api_fixtures import BUCKET
from tests.integration.ended_jobs import fail, succeed


def submit(api: httpx.Client, jobs: int) -> str:
    image = {"image": "s3://photos/1.jpg"}
    lines = [{"custom_id": str(number), "operation": "enhance", "params": image} for number in range(jobs)]
    answer = api.post("/v1/batches", json={"jobs": lines})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def job_ids(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT id FROM jobs ORDER BY id")).scalars())


def results(api: httpx.Client, batch_id: str) -> list[dict[str, Any]]:
    answer = api.get(f"/v1/batches/{batch_id}/results")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_link_leads_to_the_bytes_without_a_key(api: TestClient, api_app: FastAPI, engine: Engine) -> None:
    batch_id, data, key = submit(api, 1), b"a picture", f"results/{hashlib.sha256(b'x').hexdigest()}/ü 1.jpg"
    sha256 = hashlib.sha256(data).hexdigest()
    api_app.state.storage.put(BUCKET, key, data, content_type="image/jpeg", sha256_hex=sha256)
    succeed(engine, job_ids(engine)[0], key=key, data=data, sha256=sha256)
    output = results(api, batch_id)[0]["response"]["outputs"][0]
    assert httpx.get(output["url"], trust_env=False).content == data
    assert (output["key"], output["sha256"], output["bytes"]) == (key, sha256, len(data))


def test_a_line_holds_a_response_or_an_error(api: TestClient, engine: Engine) -> None:
    batch_id = submit(api, 3)
    done, failed, _ = job_ids(engine)
    succeed(engine, done)
    fail(engine, failed, code="server_error")
    lines = results(api, batch_id)
    assert [(line["custom_id"], line["state"]) for line in lines] == [("0", "succeeded"), ("1", "failed")]
    assert (lines[0]["response"]["cost_usd"], lines[0]["response"]["known_subjects"]) == (0.12, {"abc": 1})
    assert lines[1]["error"] == {"code": "server_error", "message": "no"}
    assert "error" not in lines[0]
    assert "response" not in lines[1]


def test_nothing_finished_is_an_empty_answer(api: TestClient) -> None:
    assert results(api, submit(api, 1)) == []


def test_a_job_tried_again_shows_the_generation_that_counts(api: TestClient, engine: Engine) -> None:
    batch_id = submit(api, 1)
    fail(engine, job_ids(engine)[0])
    assert api.post(f"/v1/batches/{batch_id}/retry", json={"code": "moderation_blocked"}).json()["retried"] == 1
    assert results(api, batch_id) == []
    succeed(engine, job_ids(engine)[1])
    assert [line["state"] for line in results(api, batch_id)] == ["succeeded"]


def test_more_than_a_page_is_all_there_once(api: TestClient, engine: Engine) -> None:
    batch_id = submit(api, 1_201)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'cancelled', due_at = NULL, finished_at = now()"))
    lines = results(api, batch_id)
    assert [line["custom_id"] for line in lines] == [str(number) for number in range(1_201)]
    assert lines[0]["error"] == {"code": "cancelled", "message": "the job is cancelled"}


def test_no_connection_is_held_while_a_client_reads(live_api: httpx.Client, api_app: FastAPI, engine: Engine) -> None:
    batch_id = submit(live_api, 10_000)
    with engine.begin() as connection:
        ended = "state = 'failed', due_at = NULL, finished_at = now(), error_code = 'x', error_message = :long"
        connection.execute(text(f"UPDATE jobs SET {ended}"), {"long": "x" * 2_000})
    with live_api.stream("GET", f"/v1/batches/{batch_id}/results") as stream:
        first = next(stream.iter_raw(chunk_size=1_000))
        assert first.startswith(b'{"id":')
        assert any(api_app.state.engine.pool.checkedout() == 0 or time.sleep(0.01) for _ in range(200))
