"""What holds a batch back, over HTTP: windows, deadlines, rates of failure."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

JOB = {"operation": "enhance", "params": {"image": "s3://photos/1.jpg"}}


def submit(api: httpx.Client, **options: Any) -> httpx.Response:
    return api.post("/v1/batches", json={"jobs": [JOB], **options})


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("window", "22:00"),
        ("window", "22:00-06:00@Europe/Pariss"),
        ("window", "06:00-06:00"),
        ("deadline", "tomorrow"),
        ("deadline", "2030-01-01T06:00:00"),
        ("deadline", "2020-01-01T06:00:00Z"),
        ("max_failure_rate", 1.5),
        ("max_failure_rate", "many"),
    ],
)
def test_limits_that_do_not_fit_are_named(api: TestClient, param: str, value: object) -> None:
    answer = submit(api, **{param: value})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [fault["param"] for fault in answer.json()["errors"]] == [param]


def test_what_holds_a_batch_back_is_kept_and_told(api: TestClient) -> None:
    limits = {"window": "22:00-6:00@Europe/Paris", "deadline": "2030-01-01T06:00:00+01:00", "max_failure_rate": 0.2}
    batch = api.get(submit(api, **limits).headers["Location"]).json()
    assert (batch["window"], batch["deadline"]) == ("22:00-06:00@Europe/Paris", "2030-01-01T05:00:00Z")
    assert batch["max_failure_rate"] == 0.2
    assert batch["forecast"] == {"finishes_at": None, "jobs_per_s": None, "meets_deadline": None}
    assert batch["waiting_for"] in (None, "window")  # as the clock says


def test_bad_limits_are_told_in_words(api: TestClient) -> None:
    told = [
        submit(api, **limits).json()["errors"][0]["message"]
        for limits in (
            {"window": "22:00"},
            {"deadline": "2020-01-01T06:00:00Z"},
            {"max_failure_rate": "many"},
        )
    ]
    assert told == [
        "window: must look like 22:00-06:00@Europe/Paris, not '22:00'",
        "deadline: 2020-01-01T06:00:00Z has passed",
        "max_failure_rate: must be a number, not 'many'",
    ]


def test_a_request_that_is_sent_again_after_its_deadline_gets_its_answer(api: TestClient) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    body = {"json": {"jobs": [JOB], "deadline": soon.isoformat()}, "headers": {"Idempotency-Key": "k"}}
    first = api.post("/v1/batches", **body)
    time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()))
    again = api.post("/v1/batches", **body)
    assert (first.status_code, again.status_code, again.json()["id"]) == (202, 202, first.json()["id"])
