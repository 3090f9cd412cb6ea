"""Batches over HTTP: queued at once, listed, looked at, followed, and steered."""

import json
import time
import uuid
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from tests.integration.api_fixtures import client_of, key_of, new_account
from tests.integration.ended_jobs import fail, settle_all, succeed


def job(number: int, **fields: Any) -> dict[str, Any]:
    return {"custom_id": str(number), "operation": "enhance", "params": {"image": f"s3://photos/{number}.jpg"}} | fields


def submit(api: httpx.Client, *jobs: object, **options: Any) -> httpx.Response:
    return api.post("/v1/batches", json={"jobs": jobs or [job(1), job(2), job(3)], **options})


def post_lines(api: httpx.Client, jobs: list[dict[str, Any]], query: str) -> httpx.Response:
    body = "".join(json.dumps(each) + "\n" for each in jobs)
    return api.post(f"/v1/batches{query}", content=body, headers={"Content-Type": "application/x-ndjson"})


def job_ids(api: httpx.Client, batch: dict[str, Any]) -> list[str]:
    return [each["id"] for each in api.get(f"/v1/batches/{batch['id']}/jobs").json()["data"]]


def count(engine: Engine, table: str = "jobs") -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


def test_a_batch_is_queued_and_can_finish(api: TestClient, engine: Engine) -> None:
    answer = submit(api, name="trip", budget_usd=3.5, metadata={"album": "7"}, priority="bulk")
    batch = answer.json()
    assert (answer.status_code, batch["status"], batch["accepted"], batch["existing"]) == (202, "open", 3, 0)
    assert (batch["counts"]["queued"], batch["counts"]["total"]) == (3, 3)
    assert batch["cost_usd"] == {"estimated": 0.36, "reserved": 0.0, "spent": 0.0}
    for job_id in job_ids(api, batch):
        succeed(engine, job_id)
    settle_all(engine)
    ended = api.get(answer.headers["Location"]).json()
    assert (ended["status"], ended["metadata"], ended["budget_usd"]) == ("completed", {"album": "7"}, 3.5)


def test_every_bad_job_is_told_with_its_index_and_nothing_is_queued(api: TestClient, engine: Engine) -> None:
    answer = submit(api, job(1), 7, job(1), job(3, params={}), job(4, output="s3://x/{unknown}"))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_jobs")
    assert [(fault["index"], fault["param"]) for fault in answer.json()["errors"]] == [
        (1, "job"),
        (2, "custom_id"),
        (3, "params.image"),
        (4, "output"),
    ]
    assert (count(engine), count(engine, "batches")) == (0, 0)


def test_bad_jobs_are_left_out_where_that_is_asked(api: TestClient) -> None:
    batch = submit(api, job(1), 7, skip_invalid=True).json()
    assert (batch["accepted"], batch["invalid"], batch["errors"][0]["index"]) == (1, 1, 1)


def test_what_was_done_before_is_skipped_where_that_is_asked(api: TestClient, engine: Engine) -> None:
    first = submit(api, job(1), skip_done=True).json()
    succeed(engine, job_ids(api, first)[0])
    again = submit(api, job(1), job(2), skip_done=True).json()
    lines = post_lines(api, [job(1), job(2)], "?skip_done=true").json()
    assert (again["counts"]["skipped"], again["counts"]["queued"]) == (1, 1)
    assert (lines["counts"]["skipped"], lines["counts"]["queued"]) == (1, 1)
    assert submit(api, job(1)).json()["counts"]["queued"] == 1


def test_one_account_knows_nothing_of_what_another_has_done(
    api: TestClient, second_api: TestClient, engine: Engine
) -> None:
    first = job(1, params={"image": "https://example.com/1.jpg"})
    succeed(engine, job_ids(api, submit(api, first, skip_done=True).json())[0])
    assert submit(api, first, skip_done=True).json()["counts"]["skipped"] == 1
    assert submit(second_api, first, skip_done=True).json()["counts"]["queued"] == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"jobs": []}, "jobs"),
        ({"jobs": {}}, "jobs"),
        ({"budget_usd": -1}, "budget_usd"),
        ({"budget_usd": "1e-20000"}, "budget_usd"),
        ({"budget": 5}, "budget"),
        ({"webhook_url": "http://10.0.0.1/"}, "webhook_url"),
        ({"webhook_events": ["job.done"]}, "webhook_events[0]"),
        ({"name": ""}, "name"),
        ({"jobs": [{}] * 10_001}, "jobs"),
    ],
)
def test_options_that_do_not_fit_are_named(api: TestClient, fields: dict[str, Any], param: str) -> None:
    answer = api.post("/v1/batches", json={"jobs": [job(1)]} | fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [fault["param"] for fault in answer.json()["errors"]] == [param]


def test_a_batch_is_spelled_alike_wherever_it_is_told(live_api: httpx.Client, engine: Engine) -> None:
    batch = submit(live_api, job(1), metadata={"long": "1", "b": "2"}).json()
    path = f"/v1/batches/{batch['id']}"
    succeed(engine, job_ids(live_api, batch)[0])
    settle_all(engine)
    told = live_api.get(path)
    assert told.json()["finished_at"].endswith("Z")
    assert told.json()["created_at"] == batch["created_at"]
    listed = live_api.get("/v1/batches").json()["data"][0]
    event = events(live_api.get(f"{path}/events").text.splitlines(), 1)[0][1]
    assert json.dumps(listed) == json.dumps(event) == json.dumps(told.json())
    assert list(batch)[: len(listed)] == list(listed)
    assert live_api.post(f"{path}/retry").text.startswith(told.text[:-1])


@pytest.mark.parametrize(
    "many", [{"metadata": dict.fromkeys(map(str, range(1_001)), "x")}, dict.fromkeys(map(str, range(1_001)))]
)
def test_a_body_of_a_thousand_fields_is_refused_by_their_number(api: TestClient, many: dict[str, Any]) -> None:
    answer = api.post("/v1/batches", json={"jobs": [job(1)]} | many)
    assert (answer.status_code, answer.json()["code"], "errors" in answer.json()) == (422, "invalid_request", False)


def test_options_of_a_json_body_do_not_stand_in_the_query(api: TestClient) -> None:
    answer = api.post("/v1/batches?budget_usd=5", json={"jobs": [job(1)]})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_what_is_said_of_webhooks_is_kept(api: TestClient, engine: Engine) -> None:
    options = {"webhook_url": "http://127.0.0.1:1/", "webhook_events": ["job.failed"], "webhook_digest": True}
    assert submit(api, **options).status_code == 202
    with engine.connect() as connection:
        batch = connection.execute(text("SELECT * FROM batches")).mappings().one()
    assert {name: batch[name] for name in options} == options


def test_batches_are_paged_newest_first(api: TestClient) -> None:
    ids = [submit(api).json()["id"] for _ in range(3)][::-1]
    first = api.get("/v1/batches?limit=2").json()
    assert ([each["id"] for each in first["data"]], first["has_more"]) == (ids[:2], True)
    rest = api.get(f"/v1/batches?limit=2&after={first['next_after']}").json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"], rest["next_after"]) == (ids[2:], False, None)


def test_batches_are_found_by_status(api: TestClient) -> None:
    paused = submit(api).json()["id"]
    submit(api)
    api.post(f"/v1/batches/{paused}/pause")
    assert [each["id"] for each in api.get("/v1/batches?status=paused").json()["data"]] == [paused]


def test_jobs_are_paged_and_found_by_state_and_code(api: TestClient, engine: Engine) -> None:
    batch = submit(api).json()
    ids = job_ids(api, batch)
    fail(engine, ids[1], code="bad_thing")
    url = f"/v1/batches/{batch['id']}/jobs"
    first = api.get(f"{url}?limit=1").json()
    assert [each["id"] for each in first["data"]] == ids[:1]
    assert [each["id"] for each in api.get(f"{url}?after={first['next_after']}").json()["data"]] == ids[1:]
    assert [each["id"] for each in api.get(f"{url}?state=queued").json()["data"]] == [ids[0], ids[2]]
    assert [each["error"]["code"] for each in api.get(f"{url}?code=bad_thing").json()["data"]] == ["bad_thing"]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "after=1", "limit=x"])
def test_a_page_that_cannot_be_is_refused(api: TestClient, query: str) -> None:
    answer = api.get(f"/v1/batches?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


ROUTES = [
    ("GET", ""),
    ("GET", "/jobs"),
    ("GET", "/results"),
    ("GET", "/events"),
    ("POST", "/pause"),
    ("POST", "/resume"),
    ("POST", "/cancel"),
    ("POST", "/retry"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_another_accounts_batch_is_as_unknown_as_any(
    api: TestClient, second_api: TestClient, method: str, path: str
) -> None:
    batch_id = submit(api).json()["id"]
    for each in (batch_id, uuid.uuid4(), "1"):
        answer = second_api.request(method, f"/v1/batches/{each}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert api.get(f"/v1/batches/{batch_id}").json()["status"] == "open"


def test_a_batch_beyond_the_queue_limit_is_refused_whole(api: TestClient, engine: Engine) -> None:
    client = client_of(api, key_of(engine, new_account(engine, "small", queue_limit=4)))
    assert submit(client).status_code == 202
    answer = submit(client)
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (429, "queue_full", "60")
    assert count(engine) == 3
    assert submit(client, job(1)).status_code == 202


def test_bad_jobs_are_told_also_where_the_queue_is_full(api: TestClient, engine: Engine) -> None:
    client = client_of(api, key_of(engine, new_account(engine, "small", queue_limit=1)))
    answer = submit(client, job(1), job(2), 7)
    assert (answer.status_code, [fault["index"] for fault in answer.json()["errors"]]) == (422, [2])


def test_a_batch_is_paused_and_goes_on(api: TestClient) -> None:
    url = f"/v1/batches/{submit(api).json()['id']}"
    paused = api.post(f"{url}/pause").json()
    assert (paused["status"], paused["paused_reason"]) == ("paused", "user")
    resumed = api.post(f"{url}/resume", json={"budget_usd": 9}).json()
    assert (resumed["status"], resumed["budget_usd"]) == ("open", 9.0)
    assert api.post(f"{url}/resume").status_code == 200


def test_a_budget_that_is_reached_needs_a_higher_one(api: TestClient, engine: Engine) -> None:
    url = f"/v1/batches/{submit(api, budget_usd=0.1).json()['id']}"
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET paused_at = now(), paused_reason = 'budget'"))
    answer = api.post(f"{url}/resume", json={"budget_usd": 0.11})
    assert (answer.status_code, answer.json()["code"]) == (409, "budget_reached")
    assert "at least $0.12" in answer.json()["detail"]
    assert api.post(f"{url}/resume", json={"budget_usd": 0.12}).json()["status"] == "open"


def test_cancelling_says_how_many_are_still_collected(api: TestClient, engine: Engine) -> None:
    batch = submit(api).json()
    with engine.begin() as connection:
        started = text(
            "UPDATE jobs SET state = 'submitting', requested_at = now(), hold = 'held' WHERE custom_id = '1'"
        )
        connection.execute(started)
    cancelled = api.post(f"/v1/batches/{batch['id']}/cancel").json()
    assert (cancelled["status"], cancelled["in_flight"], cancelled["counts"]["cancelled"]) == ("cancelling", 1, 2)


def test_what_has_failed_is_tried_again(api: TestClient, engine: Engine) -> None:
    batch = submit(api).json()
    for job_id in job_ids(api, batch):
        fail(engine, job_id, code="server_error")
    settle_all(engine)
    answer = api.post(f"/v1/batches/{batch['id']}/retry", json={"code": "server_error"}).json()
    assert (answer["retried"], answer["collected_again"], answer["left"], answer["status"]) == (3, 0, {}, "running")
    jobs = api.get(f"/v1/batches/{batch['id']}/jobs").json()["data"]
    assert [(each["state"], each["generation"]) for each in jobs] == [("queued", 2)] * 3
    assert api.get(f"/v1/jobs/{jobs[0]['retry_of']}").json()["superseded_by"] == jobs[0]["id"]


@pytest.mark.parametrize(
    ("action", "code"), [("pause", "batch_finished"), ("resume", "batch_finished"), ("cancel", "batch_finished")]
)
def test_nothing_is_done_to_a_batch_that_has_ended(api: TestClient, engine: Engine, action: str, code: str) -> None:
    batch = submit(api, job(1)).json()
    succeed(engine, job_ids(api, batch)[0])
    settle_all(engine)
    answer = api.post(f"/v1/batches/{batch['id']}/{action}")
    assert (answer.status_code, answer.json()["code"]) == (409, code)


def test_a_control_sent_twice_under_one_key_acts_once(api: TestClient, engine: Engine) -> None:
    batch = submit(api, job(1)).json()
    fail(engine, job_ids(api, batch)[0])
    url, headers = f"/v1/batches/{batch['id']}/retry", {"Idempotency-Key": "k"}
    first, again = (api.post(url, json={"code": "moderation_blocked"}, headers=headers) for _ in range(2))
    assert (first.json()["retried"], again.json()) == (1, first.json())
    assert count(engine) == 2


def events(lines: Any, number: int) -> list[tuple[str, dict[str, Any]]]:
    """The next events of a stream."""
    found, name = [], ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        if line.startswith("data: "):
            found.append((name, json.loads(line.removeprefix("data: "))))
        if len(found) == number:
            break
    return found


def test_progress_is_told_when_it_changes_and_the_end_ends_it(live_api: httpx.Client, engine: Engine) -> None:
    batch = submit(live_api, job(1)).json()
    with live_api.stream("GET", f"/v1/batches/{batch['id']}/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert events(lines, 1)[0][1]["counts"]["queued"] == 1
        succeed(engine, job_ids(live_api, batch)[0])
        assert events(lines, 1)[0][1]["counts"]["succeeded"] == 1
        settle_all(engine)
        name, last = events(lines, 1)[0]
        assert (name, last["status"], list(lines)) == ("end", "completed", [""])


def test_a_batch_that_has_ended_is_told_once(live_api: httpx.Client, engine: Engine) -> None:
    batch = submit(live_api, job(1)).json()
    succeed(engine, job_ids(live_api, batch)[0])
    settle_all(engine)
    answer = live_api.get(f"/v1/batches/{batch['id']}/events")
    assert [name for name, _ in events(answer.text.splitlines(), 9)] == ["end"]


def test_a_server_that_stops_ends_its_streams(live_api: httpx.Client, api_app: FastAPI) -> None:
    batch = submit(live_api).json()
    with live_api.stream("GET", f"/v1/batches/{batch['id']}/events") as stream:
        lines = stream.iter_lines()
        assert len(events(lines, 1)) == 1
        api_app.state.is_stopping = True
        assert list(lines) == [""]


def test_no_connection_is_held_while_a_batch_is_followed(live_api: httpx.Client, api_app: FastAPI) -> None:
    batch = submit(live_api).json()
    with live_api.stream("GET", f"/v1/batches/{batch['id']}/events") as stream:
        assert len(events(stream.iter_lines(), 1)) == 1
        assert any(api_app.state.engine.pool.checkedout() == 0 or time.sleep(0.01) for _ in range(50))
