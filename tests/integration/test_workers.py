"""Which workers there are, and the ticks that they get."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, text

from models.engine import new_async_engine
from models.workers import live_workers, session_name
from sandbox.stack import Stack
from settings import Settings
from worker.app import new_app
from worker.liveness import Ticks, count_ticks, tick_queue


@pytest.fixture
def valkey(stack: Stack) -> Iterator[Any]:
    server = redis.Redis.from_url(url(stack))
    server.flushdb()
    yield server
    server.flushdb()
    server.close()


def url(stack: Stack) -> str:
    return stack.environment()["PHOTABATCH_BROKER_URL"].rpartition("/")[0] + "/15"


async def as_worker(database_url: str, engine: Engine, worker_id: str, *rounds: Ticks) -> list[str]:
    """Connected as that worker: send ticks; who is known meanwhile."""
    mine = new_async_engine(database_url, connections=2, name=session_name(worker_id))
    async with mine.connect() as first, mine.connect() as second:
        await first.execute(text("SELECT 1"))
        await second.execute(text("SELECT 1"))
        with engine.connect() as connection:
            for ticks in rounds:
                ticks.send(connection)
            known = list(live_workers(connection))
    await mine.dispose()
    return known


def test_a_worker_is_known_once_as_long_as_it_is_connected(engine: Engine, database_url: str) -> None:
    assert asyncio.run(as_worker(database_url, engine, "one")) == ["one"]
    deadline = time.monotonic() + 10  # Postgres ends a session a little after it was closed
    while (left := known(engine)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def known(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(live_workers(connection))


def test_a_worker_that_takes_none_gets_no_second_tick_and_its_queue_expires(
    stack: Stack, engine: Engine, database_url: str, valkey: Any
) -> None:
    app = new_app(Settings(broker_url=url(stack)))
    ticks = [Ticks(app, silence_s=60.0) for _ in range(2)]
    asyncio.run(as_worker(database_url, engine, "two", *ticks))
    assert valkey.llen("worker.two") == 1
    assert 60 < valkey.ttl("worker.two") <= 120
    assert count_ticks(app, tick_queue("two", silence_s=60.0)) == 1


def test_ticks_are_not_sent_all_the_time(stack: Stack, engine: Engine, database_url: str, valkey: Any) -> None:
    ticks = Ticks(new_app(Settings(broker_url=url(stack))), silence_s=60.0)
    with engine.connect() as connection:
        ticks.send(connection)  # to nobody
    asyncio.run(as_worker(database_url, engine, "three", ticks))
    assert valkey.llen("worker.three") == 0


def test_a_broker_that_is_away_tells_nothing_and_stops_nobody(engine: Engine, database_url: str) -> None:
    app = new_app(Settings(broker_url="redis://127.0.0.1:1/0"))
    asyncio.run(as_worker(database_url, engine, "four", Ticks(app, silence_s=60.0)))
    assert count_ticks(app, tick_queue("four", silence_s=60.0)) is None
