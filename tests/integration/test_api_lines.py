"""A manifest of JSON lines over HTTP: streamed in, every fault told with its line, all or nothing."""

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

LINES = {"Content-Type": "application/x-ndjson"}


def line(number: int | str, **fields: Any) -> dict[str, Any]:
    params = {"image": f"https://example.com/{number}.jpg"}
    return {"custom_id": str(number), "operation": "enhance", "params": params} | fields


def body(*records: Any) -> bytes:
    return b"".join(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in records)


def post(api: httpx.Client, content: bytes | Iterator[bytes], query: str = "", **headers: str) -> httpx.Response:
    return api.post(f"/v1/batches{query}", content=content, headers={**LINES, **headers})


def count(engine: Engine, table: str = "jobs") -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


def places(answer: httpx.Response) -> list[tuple[int, str, str]]:
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert answer.json()["code"] == "invalid_jobs"
    return [(fault["line"], fault["param"], fault["code"]) for fault in answer.json()["errors"]]


def test_both_forms_of_a_line_become_jobs_of_one_batch(api: TestClient) -> None:
    url_form = {"custom_id": "b", "method": "POST", "url": "/v1/phota/generate", "body": {"prompt": "a boat"}}
    answer = post(api, body(line(1), url_form), "?name=trip&budget_usd=5&webhook_events=job.failed")
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    assert (batch["name"], batch["accepted"], batch["budget_usd"]) == ("trip", 2, 5.0)
    jobs = api.get(f"{answer.headers['Location']}/jobs").json()["data"]
    assert [(job["custom_id"], job["operation"]) for job in jobs] == [("1", "enhance"), ("b", "generate")]


def test_what_holds_a_batch_back_stands_in_the_query(api: TestClient) -> None:
    query = "?window=22:00-06:00@Europe/Paris&deadline=2030-01-01T06:00:00%2B01:00&max_failure_rate=0.2"
    batch = post(api, body(line(1)), query).json()
    assert (batch["window"], batch["deadline"]) == ("22:00-06:00@Europe/Paris", "2030-01-01T05:00:00Z")
    assert batch["max_failure_rate"] == 0.2


@pytest.mark.parametrize(
    "option", ["window=22:00", "deadline=never", "deadline=2020-01-01T00:00Z", "max_failure_rate=2"]
)
def test_bad_limits_in_the_query_are_named(api: TestClient, option: str) -> None:
    answer = post(api, body(line(1)), f"?{option}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [fault["param"] for fault in answer.json()["errors"]] == [option.partition("=")[0]]


def test_all_that_may_be_said_of_a_job_arrives(api: TestClient, engine: Engine) -> None:
    said = {
        "output": "s3://done/a/{custom_id}-{index}.{ext}",
        "priority": "bulk",
        "idempotency_key": "k",
        "webhook_url": "https://example.com/hook",
        "metadata": {"album": "1"},
        "not_before": "2030-01-01T00:00:00Z",
        "expires_at": "2031-01-01T00:00:00Z",
    }
    assert post(api, body(line(1, **said))).status_code == 202
    with engine.connect() as connection:
        job = connection.execute(text("SELECT *, due_at AS not_before FROM jobs")).mappings().one()
    assert {
        name: job[name] for name in ("output", "idempotency_key", "webhook_url", "metadata")
    }.items() <= said.items()
    assert (job["priority"], job["not_before"].year, job["expires_at"].year) == (2, 2030, 2031)
    assert job["client_request_id"] == job["id"].hex


def test_every_bad_line_is_told_in_order_and_nothing_is_queued(api: TestClient, engine: Engine) -> None:
    content = body(line(1), b"{\n", b"\n", line(1), line(4, params={"imag": "x"}), b"\xff\n", line(1), b"x" * 70_000)
    assert places(post(api, content)) == [
        (2, "job", "invalid_json"),
        (4, "custom_id", "duplicate_custom_id"),
        (5, "params.image", "missing"),
        (5, "params.imag", "unknown_parameter"),
        (6, "job", "not_utf8"),
        (7, "custom_id", "duplicate_custom_id"),
        (8, "job", "line_too_long"),
    ]
    assert (count(engine), count(engine, "batches")) == (0, 0)


def test_a_custom_id_twice_is_found_where_nothing_else_is_wrong(api: TestClient, engine: Engine) -> None:
    assert places(post(api, body(line(1), line(2), line(1)))) == [(3, "custom_id", "duplicate_custom_id")]
    assert count(engine) == 0


def test_bad_lines_are_left_out_where_that_is_asked(api: TestClient, engine: Engine) -> None:
    answer = post(api, body(b"{\n", line(1), line(1), line(2)), "?skip_invalid=true")
    batch = answer.json()
    assert (answer.status_code, batch["accepted"], batch["invalid"]) == (202, 2, 2)
    assert [(fault["line"], fault["code"]) for fault in batch["errors"]] == [
        (1, "invalid_json"),
        (3, "duplicate_custom_id"),
    ]
    assert count(engine) == batch["counts"]["total"] == 2


def test_only_bad_lines_are_no_batch_even_then(api: TestClient, engine: Engine) -> None:
    assert places(post(api, body(b"{\n"), "?skip_invalid=true")) == [(1, "job", "invalid_json")]
    assert count(engine, "batches") == 0


@pytest.mark.parametrize("content", [b"", b"\n \r\n\n"])
def test_no_jobs_at_all_are_refused(api: TestClient, content: bytes) -> None:
    answer = post(api, content)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_job_known_by_its_key_is_counted_not_queued_again(api: TestClient, engine: Engine) -> None:
    post(api, body(line(1, idempotency_key="a")))
    batch = post(api, body(line(1, idempotency_key="a"), line(2, idempotency_key="b"))).json()
    assert (batch["accepted"], batch["existing"], batch["invalid"]) == (1, 1, 0)
    assert count(engine) == 2


def test_thousands_of_faults_are_all_in_the_answer(api: TestClient) -> None:
    found = places(post(api, b"{\n" * 5_000))
    assert [number for number, _, _ in found] == list(range(1, 5_001))


def test_more_rows_than_go_in_at_once_keep_their_order(api: TestClient, engine: Engine) -> None:
    batch = post(api, body(*[line(number) for number in range(6_000)])).json()
    assert batch["accepted"] == 6_000
    with engine.connect() as connection:
        ids = connection.execute(text("SELECT custom_id FROM jobs ORDER BY id")).scalars().all()
    assert ids == [str(number) for number in range(6_000)]


@pytest.mark.parametrize("query", ["?budget=5", "?budget_usd=-1", "?priority=high", "?webhook_url=ftp://x", "?limit=5"])
def test_options_are_refused_before_the_body_is_read(api: TestClient, query: str) -> None:
    def unread() -> Iterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    answer = post(api, unread(), query)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_the_same_lines_under_the_same_key_are_one_batch(api: TestClient, engine: Engine) -> None:
    content = body(line(1), line(2))
    first = post(api, content, "?name=a", **{"Idempotency-Key": "k"})
    again = post(api, iter([content[:30], content[30:]]), "?name=a", **{"Idempotency-Key": "k"})
    assert (again.json(), again.status_code) == (first.json(), 202)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert count(engine) == 2


@pytest.mark.parametrize(("content", "query"), [(body(line(3)), "?name=a"), (body(line(1)), "?name=b")])
def test_other_lines_or_options_under_the_same_key_are_a_conflict(api: TestClient, content: bytes, query: str) -> None:
    post(api, body(line(1)), "?name=a", **{"Idempotency-Key": "k"})
    answer = post(api, content, query, **{"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")


def test_a_client_that_leaves_in_the_middle_leaves_nothing(live_api: httpx.Client, engine: Engine) -> None:
    address = urlsplit(str(live_api.base_url))
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    headers = {**LINES, "Authorization": live_api.headers["Authorization"], "Content-Length": "1000000"}
    connection.request("POST", "/v1/batches", body=body(*[line(n) for n in range(3_000)]), headers=headers)
    connection.close()
    assert post(live_api, body(line("after"))).json()["accepted"] == 1
    assert (count(engine), count(engine, "batches")) == (1, 1)


def test_other_requests_are_answered_while_lines_stream_in(live_api: httpx.Client) -> None:
    may_go_on = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield body(line(1))
        assert may_go_on.wait(20)
        yield body(line(2))

    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(post(live_api, slowly())))
    thread.start()
    assert live_api.get("/v1/batches").json()["data"] == []
    may_go_on.set()
    thread.join()
    assert answers[0].json()["accepted"] == 2
