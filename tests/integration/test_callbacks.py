"""A genuine callback makes its job due now; anything else changes nothing."""

import asyncio
import hashlib
import hmac
import json
from typing import Any

import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, make_url, text
from starlette.testclient import TestClient

from api import callbacks, problems
from clients.http import new_http_client
from clients.phota import PhotaClient, Uncertain
from models import dispatch
from models.claims import Move, record
from models.dispatch import CHANNEL
from models.states import JobState, Stage
from producer.callbacks import CallbackSecrets, take_callback
from settings import CALLBACK_PATH
from tests.integration.conftest import Run, add_batch, claimed
from tests.integration.phota_process import V1, post_async, receiving, running, talking, wait


def told(**body: Any) -> bytes:
    return json.dumps(body).encode()


def at_phota(engine: Engine, **columns: str) -> None:
    """One job that Phota knows as `r1`, to be asked for in ten minutes; columns as SQL."""
    add_batch(engine)
    sets = {"state": "'running'", "hold": "'idle'", "due_at": "now() + interval '10 min'", "remote_job_id": "'r1'"}
    sets |= {"requested_at": "now()"} | columns
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET " + ", ".join(f"{name} = {value}" for name, value in sets.items())))


def take(engine: Engine, body: bytes) -> int:
    with engine.begin() as connection:
        return take_callback(connection, body)


def row(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return dict(connection.execute(text("SELECT * FROM jobs")).mappings().one())


@pytest.mark.parametrize("body", [told(job_id="r1", status="succeeded"), told(id="r1")])
def test_a_callback_makes_its_job_due_now(engine: Engine, body: bytes) -> None:
    at_phota(engine)
    before = row(engine)
    assert take(engine, body) == 1
    after = row(engine)
    assert {name for name in after if after[name] != before[name]} == {"due_at"}
    with engine.begin() as connection:
        assert dispatch.take_due(connection, limit=10) == {"poll": [after["id"]]}


def test_a_replay_changes_nothing(engine: Engine) -> None:
    at_phota(engine)
    take(engine, told(job_id="r1"))
    before = row(engine)
    assert take(engine, told(job_id="r1")) == 0
    assert row(engine) == before


def test_a_callback_while_a_worker_asks_has_the_job_asked_for_once_more(engine: Engine, run: Run) -> None:
    at_phota(engine, hold="'sent'")
    job = claimed(run, Stage.POLL, [row(engine)["id"]])[0]
    assert take(engine, told(job_id="r1")) == 1  # Phota had said "not yet" a moment before
    run(lambda connection: record(connection, [Move(job.id, job.version, JobState.RUNNING, 600.0)]))
    with engine.begin() as connection:
        assert dispatch.take_due(connection, limit=10) == {"poll": [job.id]}
    assert not row(engine)["is_woken"]


@pytest.mark.parametrize(
    "columns",
    [
        {"remote_job_id": "'another'"},
        {"hold": "'sent'"},
        {"state": "'storing'"},
        {"state": "'failed'", "due_at": "NULL", "finished_at": "now()"},
    ],
)
def test_a_job_that_does_not_wait_for_it_is_left_alone(engine: Engine, columns: dict[str, str]) -> None:
    at_phota(engine, **columns)
    before = row(engine)
    assert take(engine, told(job_id="r1")) == 0
    assert row(engine) == before


@pytest.mark.parametrize("body", [b"", b"not JSON", told(status="succeeded"), told(job_id=None), b"[" * 60_000])
def test_a_callback_without_a_job_changes_nothing(engine: Engine, body: bytes) -> None:
    at_phota(engine)
    before = row(engine)
    assert take(engine, body) == 0
    assert row(engine) == before


def test_the_dispatcher_is_told_only_of_what_woke(engine: Engine, database_url: str) -> None:
    at_phota(engine)
    plain = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as listener:
        listener.execute(f"LISTEN {CHANNEL}")
        take(engine, told(job_id="unknown"))
        take(engine, told(job_id="r1"))
        take(engine, told(job_id="r1"))
        listener.execute("SELECT 1")
        assert len(list(listener.notifies(timeout=0))) == 1


def test_a_callback_finds_its_job_through_the_index(engine: Engine) -> None:
    add_batch(engine, 3000)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE jobs SET state = 'running', requested_at = now(), due_at = now() + interval '1 h', "
                "remote_job_id = md5(id::text)"
            )
        )
        connection.execute(text("ANALYZE jobs"))
        sql = str(dispatch._WAKE).replace(":remote_job_id", "'r1'")
        plan = "\n".join(connection.execute(text(f"EXPLAIN {sql}")).scalars())
    assert "ix_jobs_remote_job_id" in plan


def test_what_the_simulated_phota_sends_is_taken_for_genuine() -> None:
    with running() as (address, _), talking(address) as phota, receiving() as (url, received):
        job_id = post_async(phota, callback_url=url.replace("/hook", CALLBACK_PATH)).json()["job_id"]
        body, signature = received()
        assert wait(phota, job_id)["status"] == "succeeded"

        async def judged() -> list[bool]:
            async with new_http_client(connections=1) as http:
                client = PhotaClient(http, base_url=address + V1, api_key="any")
                secrets = CallbackSecrets(client.webhook_secret)
                return [await secrets.is_genuine(each, signature) for each in (body, body + b" ")]

        assert asyncio.run(judged()) == [True, False]
        assert json.loads(body)["job_id"] == job_id


def answer(engine: Engine, body: bytes, *, secrets: CallbackSecrets | None, signature: str = "") -> tuple[int, str]:
    """Of the route alone: status and code."""
    app = FastAPI()
    problems.install(app)
    app.include_router(callbacks.router)
    app.state.engine, app.state.callbacks = engine, secrets
    headers = {"X-Phota-Signature": signature} if signature else {}
    response = TestClient(app).post(CALLBACK_PATH, content=body, headers=headers)
    return response.status_code, response.json()["code"] if response.content else ""


async def secret() -> str:
    return "a secret"


async def no_secret() -> str:
    raise Uncertain("down", code="timeout")


def test_the_route_wakes_the_job_of_a_signed_callback(engine: Engine) -> None:
    at_phota(engine)
    body = told(job_id="r1")
    signature = hmac.new(b"a secret", body, hashlib.sha256).hexdigest()
    assert answer(engine, body, secrets=CallbackSecrets(secret), signature=f"sha256={signature}") == (204, "")
    with engine.begin() as connection:
        assert dispatch.take_due(connection, limit=10) == {"poll": [row(engine)["id"]]}


@pytest.mark.parametrize("signature", ["", "0" * 64, "sha256=" + "0" * 64])
def test_the_route_refuses_what_is_not_signed(engine: Engine, signature: str) -> None:
    at_phota(engine)
    before = row(engine)
    refused = answer(engine, told(job_id="r1"), secrets=CallbackSecrets(secret), signature=signature)
    assert refused == (401, "bad_signature")
    assert row(engine) == before


def test_the_route_reads_64_kb_at_most(engine: Engine) -> None:
    secrets = CallbackSecrets(secret)
    assert answer(engine, b"x" * 64 * 2**10, secrets=secrets) == (401, "bad_signature")
    assert answer(engine, b"x" * (64 * 2**10 + 1), secrets=secrets) == (413, "too_large")


@pytest.mark.parametrize("secrets", [None, CallbackSecrets(no_secret)])
def test_the_route_says_when_it_cannot_judge(engine: Engine, secrets: CallbackSecrets | None) -> None:
    assert answer(engine, told(job_id="r1"), secrets=secrets) == (503, "temporarily_unavailable")
