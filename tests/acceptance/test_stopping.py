"""Who is asked to stop is gone within ten seconds, whatever hangs."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from sqlalchemy import Engine

from chaos.proxy import Loop, Mode, Proxy
from sandbox.stack import Child, Stack
from tests.acceptance.conftest import Fleet, eventually, states
from tests.acceptance.test_faults import add_jobs, all_succeed


def is_gone_in_time(child: Child) -> bool:
    os.kill(child.pid, signal.SIGTERM)
    return eventually(lambda: not child.is_alive, within_s=10)


@contextmanager
def frozen_postgres(stack: Stack) -> Iterator[None]:
    postgres = psutil.Process(stack.child("postgres").pid)
    family = [postgres, *postgres.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in reversed(family):
            process.resume()


@pytest.mark.campaign
def test_a_dispatcher_in_the_middle_of_a_query_of_a_frozen_postgres(
    idle_fleet: Fleet, engine: Engine, stack: Stack
) -> None:
    idle_fleet.start(workers=1)
    add_jobs(engine, 200)
    assert eventually(lambda: states(engine).get("succeeded", 0) >= 5, within_s=90)
    dispatcher = idle_fleet.child("dispatcher")
    with frozen_postgres(stack):
        assert is_gone_in_time(dispatcher)
    idle_fleet.start(workers=0)
    all_succeed(idle_fleet, engine, 200, within_s=120)


def test_a_dispatcher_that_waits_for_a_redis_in_a_black_hole(idle_fleet: Fleet, engine: Engine) -> None:
    port = urlsplit(idle_fleet.environment["PHOTABATCH_BROKER_URL"]).port or 0
    with Loop() as loop:
        proxy = Proxy(loop, port)
        url = idle_fleet.environment["PHOTABATCH_BROKER_URL"].replace(f":{port}/", f":{proxy.port}/")
        idle_fleet.start(workers=0, PHOTABATCH_BROKER_URL=url)
        add_jobs(engine, 5)
        assert eventually(lambda: idle_fleet.redis.llen("submit"))
        proxy.set(Mode.BLACK_HOLE)
        add_jobs(engine, 5)
        assert eventually(lambda: states(engine).get("submitting", 0) > 5)
        assert is_gone_in_time(idle_fleet.child("dispatcher"))
        proxy.set(Mode.PASS)
        proxy.close()


def test_the_api_with_requests_that_wait_for_a_frozen_postgres(idle_fleet: Fleet, stack: Stack) -> None:
    url = idle_fleet.start_api()
    with frozen_postgres(stack):
        for _ in range(3):
            threading.Thread(target=ask, args=(f"{url}/v1/jobs",), daemon=True).start()
        assert eventually(lambda: ask(f"{url}/readyz", timeout=5) != 200)
        assert is_gone_in_time(idle_fleet.child("api"))


def ask(url: str, *, timeout: float = 30.0) -> int | None:
    try:
        return httpx.get(url, headers={"Authorization": "Bearer pb_none"}, timeout=timeout, trust_env=False).status_code
    except httpx.HTTPError:
        return None


@pytest.mark.parametrize("is_frozen", [False, True], ids=["a client that says nothing", "calls that never end"])
def test_the_simulator(idle_fleet: Fleet, is_frozen: bool) -> None:
    address = urlsplit(str(idle_fleet.phota.base_url))
    silent = socket.create_connection((address.hostname or "", address.port or 0))
    silent.sendall(b"POST /v1/phota/generate HTTP/1.1\r\n")
    if is_frozen:
        idle_fleet.configure(latency="600")
        body = {"prompt": "a boat"}
        post = threading.Thread(target=call, args=(f"{idle_fleet.phota.base_url}/v1/phota/generate", body), daemon=True)
        post.start()
    assert is_gone_in_time(idle_fleet.child("simulator"))
    silent.close()


def call(url: str, body: dict[str, str]) -> None:
    try:
        httpx.post(url, json=body, headers={"X-API-Key": "any"}, timeout=600, trust_env=False)
    except httpx.HTTPError:
        return
