"""`photabatch api` and the API of `photabatch up`, as processes."""

import itertools
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import Engine, make_url

from api.keys import create_key
from models.states import Scope
from producer.ownership import OPERATOR
from sandbox.stack import Stack
from tests.acceptance.conftest import eventually
from tests.acceptance.test_embedded import clean_environment, command, started

_numbers = itertools.count(1)
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def port(stack: Stack) -> int:
    return stack.port(f"test-api-{next(_numbers)}", preferred=18800)


@pytest.fixture
def start_api(stack: Stack, database_url: str, tmp_path: Path, port: int) -> Iterator[Start]:
    """Start `photabatch api`; every one that is left ends with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(**environment: str) -> subprocess.Popen[str]:
        addresses = {**stack.environment(), "PHOTABATCH_DATABASE_URL": database_url, "PHOTABATCH_API_PORT": str(port)}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli.main", "api"],
            env=clean_environment(tmp_path) | addresses | environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def client(port: int, engine: Engine) -> Iterator[httpx.Client]:
    with engine.begin() as connection:
        key = create_key(connection, OPERATOR, name="test", scopes=list(Scope))
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=10) as client:
        yield client


def status_of(client: httpx.Client, path: str) -> int | None:
    try:
        return client.get(path).status_code
    except httpx.TransportError:
        return None


def drop(database_url: str) -> None:
    url = make_url(database_url).set(drivername="postgresql")
    server = url.set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{url.database}" WITH (FORCE)')


def test_it_serves_until_it_is_told_to_end(start_api: Start, client: httpx.Client) -> None:
    process = start_api()
    assert eventually(lambda: status_of(client, "/healthz") == 200)
    assert client.get("/readyz").json() == {"status": "ok", "database": "ok", "storage": "ok", "broker": "ok"}
    job = {"operation": "generate", "params": {"prompt": "a lighthouse at dawn"}}
    batch = client.post("/v1/batches", json={"jobs": [job]}).raise_for_status().json()
    with client.stream("GET", f"/v1/batches/{batch['id']}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: progress"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0, "a stream that is open does not hold it"
        assert all("end" not in line.partition(":")[2] for line in lines if line.startswith("event"))


def test_it_is_not_ready_while_the_database_is_away(
    start_api: Start, client: httpx.Client, database_url: str, engine: Engine
) -> None:
    process = start_api()
    assert eventually(lambda: status_of(client, "/readyz") == 200)
    engine.dispose()
    drop(database_url)
    assert eventually(lambda: status_of(client, "/readyz") == 503)
    assert client.get("/readyz").json()["database"] == "unreachable"
    refused = client.get("/v1/batches")
    assert (refused.status_code, refused.json()["code"]) == (503, "temporarily_unavailable")
    assert refused.headers["retry-after"] == "5"
    assert status_of(client, "/healthz") == 200
    assert process.poll() is None


def test_it_refuses_a_port_that_is_taken(start_api: Start, port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        process = start_api()
        told = process.communicate(timeout=30)[1]
    assert process.returncode == 7
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in told


def test_it_refuses_a_database_without_tables(start_api: Start, database_url: str) -> None:
    empty = make_url(database_url).set(database="postgres").render_as_string(hide_password=False)
    process = start_api(PHOTABATCH_DATABASE_URL=empty)
    assert "run `photabatch migrate` first" in process.communicate(timeout=30)[1]
    assert process.returncode == 7


def first_words(process: subprocess.Popen[str]) -> str:
    """What `up` prints until it waits."""
    assert process.stderr is not None
    lines = itertools.takewhile(lambda line: "Stop: Ctrl-C" not in line, process.stderr)
    return "".join(lines)


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0


def test_up_makes_a_key_on_its_first_start_and_tells_where_the_api_is(tmp_path: Path) -> None:
    up = started(tmp_path, "up", "--workers", "1")
    told = first_words(up)
    key, url = re.findall(r"pb_\S+", told)[0], re.findall(r"http://127.0.0.1:\d+", told)[0]
    headers = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{url}/metrics", headers=headers, trust_env=False).status_code == 200, "all scopes"
    env = json.loads(command(tmp_path, "env", "--json").stdout)
    assert env["api_url"] == env["public_url"] == url
    assert env["phota_base_url"].endswith("/v1/phota")
    assert (len(env["aws_access_key_id"]) > 8, env["aws_secret_access_key"]) == (True, "***")
    made = command(tmp_path, "key", "create", "--scope", "read").stdout.strip()
    assert httpx.get(url, auth=("", made), trust_env=False).status_code == 200
    stop(up)
    again = started(tmp_path, "up", "--workers", "1")
    assert "pb_" not in first_words(again)
    stop(again)


def test_up_keeps_to_the_port_that_it_was_given(tmp_path: Path, port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        done = subprocess.run(
            [sys.executable, "-P", "-m", "cli.main", "up", "--workers", "1"],
            env=clean_environment(tmp_path) | {"PHOTABATCH_API_PORT": str(port)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 7
    assert f"127.0.0.1:{port}: Address already in use" in done.stderr
