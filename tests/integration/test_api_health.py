"""What the API says of itself and of what it stands on, with each of these away in turn."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, event, make_url
from starlette.testclient import TestClient

from api.app import new_app
from sandbox.stack import Stack
from settings import Settings

OK = {"status": "ok", "database": "ok", "storage": "ok", "broker": "ok"}


@contextmanager
def deaf_port() -> Iterator[int]:
    """Something that accepts connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def readiness(settings: Settings, **changed: Any) -> tuple[int, dict[str, str]]:
    fields = settings.model_dump() | changed
    with TestClient(new_app(Settings(_env_file=None, **fields))) as stranger:
        answer = stranger.get("/readyz")
    return answer.status_code, answer.json()


def test_the_process_answers(api_app: FastAPI) -> None:
    with TestClient(api_app) as stranger:
        answer = stranger.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_it_is_ready_where_all_is_there(api_settings: Settings) -> None:
    assert readiness(api_settings) == (200, OK)


def test_without_the_database_it_is_not_ready(api_settings: Settings) -> None:
    status, told = readiness(api_settings, database_url="postgresql://photabatch@127.0.0.1:1/none")
    assert (status, told) == (503, OK | {"status": "unavailable", "database": "unreachable"})


def test_a_database_that_never_answers_is_away(api_settings: Settings) -> None:
    with deaf_port() as port:
        status, told = readiness(api_settings, database_url=f"postgresql://photabatch@127.0.0.1:{port}/none")
    assert (status, told["database"]) == (503, "no answer within 2 s")
    for thread in threading.enumerate():
        if thread.name.startswith("readiness-"):
            thread.join(timeout=10)  # it hears now that nobody listens any more


def test_a_database_without_tables_says_what_to_do(api_settings: Settings, stack: Stack) -> None:
    empty = make_url(stack.environment()["PHOTABATCH_DATABASE_URL"]).set(database="template1")
    status, told = readiness(api_settings, database_url=empty.render_as_string(hide_password=False))
    assert (status, told["database"]) == (503, "has no tables: `photabatch migrate`")


@pytest.mark.parametrize(
    ("name", "address"),
    [("storage", {"s3_endpoint_url": "http://127.0.0.1:1"}), ("broker", {"broker_url": "redis://127.0.0.1:1/0"})],
)
def test_without_the_others_it_is_ready_and_says_so(api_settings: Settings, name: str, address: dict[str, str]) -> None:
    status, told = readiness(api_settings, **address)
    assert (status, told["status"]) == (200, "degraded")
    assert {key: word == "ok" for key, word in told.items() if key != "status"} == {
        each: each != name for each in ("database", "storage", "broker")
    }


def test_no_reason_tells_an_address_or_a_password(api_settings: Settings) -> None:
    url = "postgresql://photabatch:hunter2@127.0.0.1:1/none"
    broker = "redis://:hunter2@127.0.0.1:1/0"
    told = str(readiness(api_settings, database_url=url, broker_url=broker, s3_endpoint_url="http://127.0.0.1:1"))
    assert "hunter2" not in told
    assert "127.0.0.1" not in told


def test_many_who_ask_are_answered_from_one_look(api_app: FastAPI, database_url: str) -> None:
    statements: list[str] = []
    with TestClient(api_app) as stranger:
        engine: Engine = api_app.state.probe
        event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
        answers = [stranger.get("/readyz").status_code for _ in range(20)]
    assert answers == [200] * 20
    assert sum("upstreams" in statement for statement in statements) == 1
