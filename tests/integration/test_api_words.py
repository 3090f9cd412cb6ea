"""What the API says of a body or a query that does not fit: the words that faults of jobs have."""

import json

import pytest
from starlette.testclient import TestClient

JOB = {"operation": "generate", "params": {"prompt": "a boat"}}


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ([], "invalid_type", "body: must be an object, not []"),
        ({"jobs": []}, "out_of_range", "jobs: at least 1 needed"),
        ({"jobs": [7], "budget": 5}, "unknown_parameter", "budget: is not a parameter of this body; budget_usd?"),
        ({"jobs": [7], "budget_usd": -1}, "out_of_range", "budget_usd: -1 is less than 0"),
        ({"jobs": [7], "webhook_digest": "x"}, "invalid_type", "webhook_digest: must be true or false, not 'x'"),
    ],
)
def test_a_body_is_refused_in_the_words_that_jobs_are(api: TestClient, body: object, code: str, message: str) -> None:
    answer = api.post("/v1/batches", json=body).json()
    assert [(fault["code"], fault["message"]) for fault in answer["errors"]] == [(code, message)]
    assert answer["detail"] == message


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("limit=0", "out_of_range", "limit: 0 is less than 1"),
        ("limit=x", "invalid_type", "limit: must be a whole number, not 'x'"),
        ("after=1", "invalid_type", "after: must be an id, not '1'"),
        ("status=new", "invalid_value", "status: new is not one of open, running, "),
    ],
)
def test_a_query_is_refused_in_them_too(api: TestClient, query: str, code: str, message: str) -> None:
    answer = api.get(f"/v1/batches?{query}").json()
    assert [fault["code"] for fault in answer["errors"]] == [code]
    assert answer["detail"].startswith(message)


def test_lines_sent_as_json_are_told_what_they_are(api: TestClient) -> None:
    content = b"\n".join(json.dumps(JOB).encode() for _ in range(2))
    answer = api.post("/v1/batches", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
    assert answer.json()["detail"].endswith("; a job a line is application/x-ndjson.")


def test_what_no_route_takes_is_refused_with_what_there_is(api: TestClient) -> None:
    assert api.get("/v1/nope").json()["detail"] == "No such route; /openapi.json has them all."
    told = api.delete("/v1/batches").json()["detail"]
    assert told == "DELETE is not for this route; it takes GET, POST."
