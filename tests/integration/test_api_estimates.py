"""Estimates over HTTP: the bodies of a batch, and nothing written."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from tests.integration.api_fixtures import client_of, key_of, new_account

GENERATE = {"operation": "generate", "params": {"prompt": "a boat"}}


def enhance(number: int, **params: Any) -> dict[str, Any]:
    return {"operation": "enhance", "params": {"image": f"s3://photos/{number}.jpg"} | params}


def estimate(api: httpx.Client, *jobs: Any, **options: Any) -> httpx.Response:
    return api.post("/v1/estimates", json={"jobs": jobs, **options})


def codes(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {warning["code"] for warning in answer.json()["warnings"]}


def test_the_range_is_told_and_nothing_is_queued(api: TestClient, engine: Engine) -> None:
    answer = estimate(api, enhance(1), enhance(2, profile_ids=["a"]), GENERATE, name="trip")
    assert answer.json()["jobs"] == 3
    assert answer.json()["cost_usd"] == {"low": 0.33, "high": 0.36}
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM batches")) == 0


def test_lines_are_estimated_as_well(api: TestClient) -> None:
    lines = b"\n".join(json.dumps(enhance(number)).encode() for number in range(500))
    answer = api.post("/v1/estimates?budget_usd=59", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert (answer.json()["jobs"], answer.json()["cost_usd"]["high"]) == (500, 60.0)
    assert codes(answer) == {"budget_below_low", "enhance_2k"}


def test_what_may_not_be_meant_is_warned_of(api: TestClient) -> None:
    late = enhance(1) | {"expires_at": "2020-01-01T00:00:00Z"}
    answer = estimate(api, enhance(1), late, GENERATE, budget_usd=0.3)
    assert codes(answer) == {"duplicate_inputs", "expires_at_once", "assumed_prices", "enhance_2k", "budget_below_low"}


def test_jobs_beyond_the_queue_limit_are_warned_of(api: TestClient, engine: Engine) -> None:
    client = client_of(api, key_of(engine, new_account(engine, "small", queue_limit=1)))
    assert codes(estimate(client, GENERATE)) == {"assumed_prices"}
    assert client.post("/v1/jobs", json=GENERATE).status_code == 202
    assert codes(estimate(client, GENERATE)) == {"assumed_prices", "queue_full"}


def knows(engine: Engine, *, limit: float = 2, **latency_s: float) -> None:
    """What the fleet has learnt of the upstream."""
    with engine.begin() as connection:
        values = {"limit": limit, "known": json.dumps(latency_s)}
        connection.execute(text("UPDATE upstreams SET in_flight_limit = :limit, latency_s = :known"), values)


def timed(answer: httpx.Response) -> set[str]:
    return codes(answer) - {"enhance_2k", "assumed_prices"}


def test_a_deadline_that_is_not_met_is_warned_of(api: TestClient, engine: Engine) -> None:
    jobs = [enhance(number) for number in range(20)]
    soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert timed(estimate(api, *jobs, deadline=soon)) == set()  # nobody can tell yet
    knows(engine, enhance=10.0)  # 0.2 jobs/s: 100 s and the last call
    assert timed(estimate(api, *jobs, deadline=soon)) == {"deadline_not_met"}
    assert timed(estimate(api, *jobs[:4], deadline=soon)) == set()


def test_a_window_that_a_call_does_not_fit_into_is_warned_of(api: TestClient, engine: Engine) -> None:
    assert timed(estimate(api, enhance(1), window="22:00-22:01")) == {"window_too_short"}
    knows(engine, enhance=10.0)
    assert timed(estimate(api, enhance(1), window="22:00-22:01")) == set()
    assert timed(estimate(api, enhance(1), GENERATE, window="22:00-22:01")) == {"window_too_short"}


def test_budgets_of_the_account_are_warned_of(api: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET budget_day_usd = 0.20, budget_month_usd = 0.30"))
    assert timed(estimate(api, enhance(1))) == set()
    assert timed(estimate(api, enhance(1), enhance(2))) == {"account_budget_day"}
    answer = estimate(api, enhance(1), enhance(2), enhance(3))
    assert timed(answer) == {"account_budget_day", "account_budget_month"}
    assert "leaves $0.20 of $0.20" in answer.text


def test_limits_that_do_not_fit_are_refused(api: TestClient) -> None:
    answer = estimate(api, enhance(1), deadline="2020-01-01T00:00:00Z")
    assert (answer.status_code, answer.json()["errors"][0]["param"]) == (422, "deadline")


def test_bad_jobs_are_refused_or_left_out_as_in_a_batch(api: TestClient) -> None:
    answer = estimate(api, GENERATE, {})
    assert (answer.status_code, answer.json()["code"], answer.json()["errors"][0]["index"]) == (422, "invalid_jobs", 1)
    told = estimate(api, GENERATE, {}, 7, skip_invalid=True).json()
    assert (told["jobs"], told["invalid"], [fault["index"] for fault in told["errors"]]) == (1, 2, [1, 2])


def test_an_estimate_that_leaves_nothing_out_says_so(api: TestClient) -> None:
    told = estimate(api, GENERATE).json()
    assert (told["invalid"], "errors" in told) == (0, False)


def test_the_same_key_replays_an_estimate(api: TestClient) -> None:
    answers = [api.post("/v1/estimates", json={"jobs": [GENERATE]}, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert "Idempotent-Replayed" in answers[1].headers
