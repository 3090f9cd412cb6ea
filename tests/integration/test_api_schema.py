"""The whole OpenAPI, tried out: nothing breaks, and every answer is one that the document promises."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from sqlalchemy import Engine, text

from producer.callbacks import CallbackSecrets
from tests.integration.api_fixtures import OPERATOR, bearer, key_of
from tests.integration.conftest import add_batch

DOCUMENT = Path(__file__).parents[2] / "docs/openapi.json"  # a drift test holds it to the code
CONFIG = {
    "generation": {"deterministic": True, "max-examples": 10, "database": "none"},
    "max-stream-events": 1,
}
OPEN = {"/healthz", "/readyz", "/v1/callbacks/phota"}
# A body may fit its schema and still name a budget that is too small, or a picture that is none.
LENIENT = [positive_data_acceptance]
JOB = json.dumps({"operation": "enhance", "params": {"image": "s3://photos/1.jpg"}}).encode()

lines = st.lists(st.sampled_from([JOB, b"{", b"[]", b'{"operation": "edit"}', b"", b"\xff"]), max_size=4)
schemathesis.openapi.media_type("application/x-ndjson", lines.map(b"\n".join))
schemathesis.openapi.media_type("*/*", st.binary(max_size=64))
schema = schemathesis.openapi.from_path(DOCUMENT, config=schemathesis.Config.from_dict(CONFIG))
some = settings(suppress_health_check=list(HealthCheck), deadline=None)


@pytest.fixture
def running(api_app: FastAPI) -> Iterator[dict[str, Any]]:
    """The application, as a case wants it; Phota's secret is told by a fake."""

    async def secret() -> str:
        return "secret"

    with asgi.get_client(api_app):
        api_app.state.callbacks = CallbackSecrets(secret)
        yield {"app": api_app, "base_url": f"http://{asgi.HOST}"}
    asgi.shutdown_lifespans()


@pytest.fixture
def key(engine: Engine) -> dict[str, str]:
    return bearer(key_of(engine, OPERATOR))


@pytest.fixture
def ids(engine: Engine) -> dict[str, str]:
    """Of a batch with a job in every kind of state, and of a job that has all there is."""
    batch = add_batch(engine, jobs=4, webhook_url="https://example.com/hook")
    ended = "due_at = NULL, finished_at = now()"
    moves = [
        ("0", f"state = 'succeeded', cost_usd = 0.12, known_subjects = '{{\"abc123\": 1}}', {ended}"),
        ("1", f"state = 'failed', error_code = 'timeout', error_message = 'too late', {ended}"),
        ("2", f"state = 'rejected', error_code = 'invalid_image', error_message = 'no picture', {ended}"),
    ]
    with engine.begin() as connection:
        for custom_id, move in moves:
            connection.execute(text(f"UPDATE jobs SET {move} WHERE custom_id = '{custom_id}'"))
        job_id = connection.scalar(text("SELECT id FROM jobs WHERE state = 'succeeded'"))
        connection.execute(
            text("INSERT INTO outputs VALUES (:id, 0, 'photos', '1-0.jpg', 'image/jpeg', 9, repeat('0', 64), 3, 2)"),
            {"id": job_id},
        )
        connection.execute(
            text("INSERT INTO attempts (job_id, stage, started_at, duration_ms) VALUES (:id, 'submit', now(), 12)"),
            {"id": job_id},
        )
    return {"batch_id": str(batch.id), "job_id": str(job_id)}


def ask(case: schemathesis.Case, running: dict[str, Any], **options: Any) -> schemathesis.Response:
    """Send a case and hold its answer to the document; checks that ask again find the application at the schema."""
    case.operation.schema.app = running["app"]
    return case.call_and_validate(**running, **options)


@schema.parametrize()
@some
def test_answers_are_those_of_the_document(
    case: schemathesis.Case, running: dict[str, Any], key: dict[str, str]
) -> None:
    ask(case, running, headers=key, excluded_checks=LENIENT)


@schema.include(path_regex="_id}").parametrize()
@some
def test_answers_about_what_there_is_are_too(
    case: schemathesis.Case, running: dict[str, Any], key: dict[str, str], ids: dict[str, str]
) -> None:
    case.path_parameters = {name: ids[name] for name in case.path_parameters}
    answer = ask(case, running, headers=key, excluded_checks=[*LENIENT, negative_data_rejection])
    assert answer.status_code != 404


@schema.parametrize()
@some
def test_nothing_is_open_without_a_key(case: schemathesis.Case, running: dict[str, Any]) -> None:
    answer = ask(case, running, excluded_checks=[*LENIENT, negative_data_rejection])
    assert case.path in OPEN or answer.status_code in (401, 404, 405)
