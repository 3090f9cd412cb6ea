"""Jobs in a real database, without any process that works on them."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from chaos.proxy import Loop, Proxy
from models import admission
from models.admission import Fate
from models.claims import ClaimedJob, claim
from models.engine import new_async_engine
from models.inserts import BatchRef
from models.lanes import in_flight_by_lane, waiting_lanes
from models.states import Stage
from producer.batches import BatchLimits, open_batch
from producer.jobs import CheckedJob, check
from producer.submission import insert
from tests.integration import api_fixtures

api_settings, api_app, live_api = api_fixtures.api_settings, api_fixtures.api_app, api_fixtures.live_api
api, second_api, read_only_api = api_fixtures.api, api_fixtures.second_api, api_fixtures.read_only_api
second_account = api_fixtures.second_account


def photo(custom_id: str | None = None, **fields: Any) -> CheckedJob:
    """A job that may be queued; it costs 0.12 USD."""
    return check(
        {"operation": "enhance", "params": {"image": "s3://photos/1.jpg"}, "custom_id": custom_id} | fields,
    )


def add_batch(engine: Engine, jobs: int = 1, *, budget_usd: Decimal | None = None, **fields: Any) -> BatchRef:
    """A batch with so many queued jobs, still open."""
    with engine.begin() as connection:
        batch = open_batch(connection, "test", **{"limits": BatchLimits(budget_usd=budget_usd), **fields})
        insert(connection, [photo(str(number)) for number in range(jobs)], batch=batch)
    return batch


def admit_all(engine: Engine, slots: int = 1000) -> list[uuid.UUID]:
    """What the dispatcher does for every lane that waits."""
    with engine.begin() as connection:
        lanes = waiting_lanes(connection, in_flight_by_lane(connection))
        rows = admission.admit(connection, [(lane, slots) for lane in lanes])
    return [row.job_id for row in rows if row.fate is Fate.ADMITTED]


Run = Callable[[Callable[[AsyncConnection], Coroutine[Any, Any, Any]]], Any]


@pytest.fixture
def run(database_url: str) -> Run:
    """Run an async statement in a transaction of its own, as a worker does."""

    def once(work: Callable[[AsyncConnection], Coroutine[Any, Any, Any]]) -> Any:
        async def go() -> Any:
            engine = new_async_engine(database_url, connections=1)
            try:
                async with engine.begin() as connection:
                    return await work(connection)
            finally:
                await engine.dispose()

        return asyncio.run(go())

    return once


def claimed(run: Run, stage: Stage, ids: Sequence[uuid.UUID]) -> list[ClaimedJob]:
    jobs: list[ClaimedJob] = run(lambda connection: claim(connection, stage, ids))
    return jobs


@pytest.fixture
def link(database_url: str) -> Iterator[Proxy]:
    """A way to Postgres that keeps connections alive, as a load balancer does: the kernel's own probes say nothing."""
    with Loop() as loop:
        proxy = Proxy(loop, make_url(database_url).port or 0)
        yield proxy
        proxy.close()
