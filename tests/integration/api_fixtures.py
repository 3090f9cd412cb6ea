"""The HTTP API on the services of the run: clients of two accounts, in process, and one of a real server."""

import threading
import time
import uuid
from collections.abc import Iterator, Sequence

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api.app import new_app
from api.keys import create_key
from models import new_id
from models.accounts import AccountRef, put_account
from models.states import Scope
from producer.ownership import OPERATOR
from sandbox.stack import Stack
from settings import Settings

BUCKET = "photabatch"


def new_account(
    engine: Engine,
    name: str,
    *,
    requests_per_minute: int | None = None,
    queue_limit: int | None = None,
    s3_prefixes: tuple[str, ...] | None = None,
) -> AccountRef:
    account = AccountRef(new_id(), name, requests_per_minute, queue_limit, s3_prefixes)
    with engine.begin() as connection:
        put_account(connection, account, webhook_secret="whsec_" + "c2VjcmV0" * 6)
    return account


def key_of(engine: Engine, account: AccountRef, scopes: Sequence[Scope] = tuple(Scope)) -> str:
    """A key of 64 or so characters, as a client sends it."""
    with engine.begin() as connection:
        return create_key(connection, account, name=f"test {uuid.uuid4()}", scopes=scopes)


@pytest.fixture
def api_settings(stack: Stack, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    services = stack.environment()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, services[name])
    return Settings(
        _env_file=None,
        database_url=database_url,
        phota_base_url="http://127.0.0.1:9/v1/phota",  # named without a key, as that of the simulated API is
        broker_url=services["PHOTABATCH_BROKER_URL"],
        s3_endpoint_url=services["PHOTABATCH_S3_ENDPOINT_URL"],
        s3_bucket=BUCKET,
        allowed_hosts=["127.0.0.1"],
    )


@pytest.fixture
def api_app(api_settings: Settings) -> FastAPI:
    return new_app(api_settings)


@pytest.fixture
def api(api_app: FastAPI, engine: Engine) -> Iterator[TestClient]:
    """A client with a key of the default account and all scopes; the application lives as long as it."""
    with TestClient(api_app, headers=bearer(key_of(engine, OPERATOR)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def second_account(engine: Engine) -> AccountRef:
    """Another tenant, which nothing limits."""
    return new_account(engine, "second")


@pytest.fixture
def second_api(api: TestClient, engine: Engine, second_account: AccountRef) -> TestClient:
    """The same application, asked by the other tenant."""
    return client_of(api, key_of(engine, second_account))


@pytest.fixture
def read_only_api(api: TestClient, engine: Engine) -> TestClient:
    """The default account with a key that may only read."""
    return client_of(api, key_of(engine, OPERATOR, [Scope.READ]))


def client_of(api: TestClient, key: str) -> TestClient:
    """One more client of an application that runs."""
    return TestClient(api.app, headers=bearer(key), raise_server_exceptions=False)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def live_api(api_app: FastAPI, engine: Engine) -> Iterator[httpx.Client]:
    """As `api`, but served on loopback: for what is streamed, broken off or stopped."""
    server = uvicorn.Server(uvicorn.Config(api_app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    with httpx.Client(base_url=url, headers=bearer(key_of(engine, OPERATOR)), timeout=30, trust_env=False) as client:
        yield client
    server.should_exit = api_app.state.is_stopping = True
    thread.join()
