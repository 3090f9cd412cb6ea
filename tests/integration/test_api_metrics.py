"""What /metrics counts, and that what it reads stays cheap."""

import json
import re
import uuid

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from models import gauges
from producer.submission import insert
from tests.integration.conftest import add_batch, admit_all, photo


def scrape(api: TestClient) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels."""
    answer = api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_jobs_are_counted_by_state(api: TestClient, engine: Engine) -> None:
    add_batch(engine, jobs=3)
    admit_all(engine, slots=2)
    seen = scrape(api)
    assert (seen["photabatch_jobs", "queued"], seen["photabatch_jobs", "submitting"]) == (1, 2)
    assert (seen["photabatch_jobs", "failed"], seen["photabatch_batches", "open"]) == (0, 1)


def test_jobs_without_a_batch_are_counted_apart(api: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        insert(connection, [photo() for _ in range(4)])
    admit_all(engine, slots=1)
    execute(
        engine, "UPDATE jobs SET state = 'cancelled', due_at = NULL, finished_at = now() WHERE state = 'submitting'"
    )
    seen = scrape(api)
    assert (seen["photabatch_lone_jobs", "queued"], seen["photabatch_lone_jobs", "cancelled"]) == (3, 1)
    assert seen["photabatch_jobs", "queued"] == 0


def test_a_lone_job_of_yesterday_is_forgotten_once_it_has_finished(api: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        insert(connection, [photo(), photo()])
    old = uuid.UUID(int=1_700_000_000_000 << 80)
    done = "state = 'cancelled', due_at = NULL, finished_at = now()"
    execute(engine, f"UPDATE jobs SET id = '{old}', {done} WHERE id = (SELECT id FROM jobs LIMIT 1)")
    seen = scrape(api)
    assert (seen["photabatch_lone_jobs", "cancelled"], seen["photabatch_lone_jobs", "queued"]) == (0, 1)


def test_money_is_what_jobs_have_cost(api: TestClient, engine: Engine) -> None:
    add_batch(engine, jobs=2)
    execute(engine, "UPDATE jobs SET state = 'succeeded', cost_usd = 0.13, due_at = NULL, finished_at = now()")
    assert scrape(api)["photabatch_spent_usd_total",] == pytest.approx(0.26)


def test_the_gate_says_why_it_is_closed(api: TestClient, engine: Engine) -> None:
    assert scrape(api)["photabatch_gate_closed", ""] == 0
    execute(engine, "UPDATE upstreams SET closed_until = now() + interval '1 h', closed_reason = 'no_credit'")
    assert scrape(api)["photabatch_gate_closed", "no_credit"] == 1
    execute(engine, "UPDATE upstreams SET closed_until = now() - interval '1 s', in_flight_limit = 31")
    seen = scrape(api)
    assert (seen["photabatch_gate_closed", ""], seen["photabatch_in_flight_limit",]) == (0, 31)


def test_work_that_nobody_takes_shows(api: TestClient, engine: Engine) -> None:
    add_batch(engine, jobs=2)
    assert scrape(api)["photabatch_oldest_due_seconds",] == 0
    admit_all(engine)
    execute(engine, "UPDATE jobs SET due_at = now() - interval '90 s' WHERE custom_id = '0'")
    assert scrape(api)["photabatch_oldest_due_seconds",] == pytest.approx(90, abs=10)


def test_webhooks_that_do_not_arrive_show(api: TestClient, engine: Engine) -> None:
    add_batch(engine, jobs=2, webhook_url="https://example.com/hook", webhook_events=["job.cancelled"])
    done = "state = 'cancelled', due_at = NULL, finished_at = now()"
    execute(engine, f"UPDATE jobs SET {done}")
    execute(engine, "UPDATE deliveries SET created_at = now() - interval '90 s'")
    seen = scrape(api)
    assert (seen["photabatch_deliveries", "pending"], seen["photabatch_deliveries", "failed"]) == (2, 0)
    assert seen["photabatch_oldest_delivery_seconds",] == pytest.approx(90, abs=10)
    execute(engine, "UPDATE webhook_endpoints SET disabled_at = now(), disabled_reason = 'gone'")
    assert scrape(api)["photabatch_endpoints_disabled",] == 1


def test_requests_are_counted_under_the_template_of_their_route(api: TestClient) -> None:
    for path in ("/healthz", f"/v1/batches/{uuid.uuid4()}", f"/v1/batches/{uuid.uuid4()}", "/.env", "/%00?key=pb_1"):
        api.get(path)
    seen = scrape(api)
    assert seen["photabatch_http_requests_total", "GET", "/healthz", "200"] == 1
    assert seen["photabatch_http_requests_total", "GET", "none", "404"] == 2
    assert seen["photabatch_http_request_seconds_count", "GET", "/v1/batches/{batch_id}"] == 2


def test_strangers_make_no_labels(api: TestClient) -> None:
    before = len(scrape(api))
    for number in range(20):
        api.request(f"M{number}", f"/{number}")
    assert len(scrape(api)) <= before + 40, "two series of one method and one route, with its buckets"
    assert not re.search(r"M1[0-9]|/1[0-9]", api.get("/metrics").text)


def test_no_scrape_reads_all_jobs(engine: Engine) -> None:
    """Each statement on jobs goes through an index, also where Postgres would rather read a small table whole."""
    for statement in (gauges._LONE, gauges._OLDEST_DUE):
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            explain = text("EXPLAIN (FORMAT JSON) " + statement.text)
            bound = {"since": uuid.uuid4()} if ":since" in statement.text else {}
            plan = json.dumps(connection.execute(explain, bound).scalar_one())
        assert '"Seq Scan", "Parallel Aware": false, "Async Capable": false, "Relation Name": "jobs"' not in plan
        assert "ix_jobs_" in plan
