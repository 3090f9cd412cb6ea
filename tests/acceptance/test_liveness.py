"""A worker that takes nothing though there is something to take ends itself, and nobody else does."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine

from chaos.proxy import Loop, Mode, Proxy
from sandbox.stack import Child
from tests.acceptance.conftest import Fleet, eventually, states
from tests.acceptance.test_faults import add_jobs, all_succeed, expire_leases

SILENCE_S = 3.0
SHORT = {"PHOTABATCH_SILENCE_S": str(SILENCE_S)}
FAILED = 5


@dataclass
class LosingProxy(Proxy):
    """Resets the connection of each acknowledgement instead of handing it on; others, as the one of BRPOP, live."""

    loses_acknowledgements: bool = False

    def _passing(self, data: bytes, link: Any, *, is_back: bool) -> bytes:
        is_lost = self.loses_acknowledgements and not is_back and b"HDEL" in data
        return b"" if is_lost else super()._passing(data, link, is_back=is_back)


@pytest.fixture
def broker(idle_fleet: Fleet) -> Iterator[LosingProxy]:
    """Between the worker and Valkey; the dispatcher reaches Valkey itself."""
    target = urlsplit(idle_fleet.environment["PHOTABATCH_BROKER_URL"]).port or 0
    with Loop() as loop:
        proxy = LosingProxy(loop, target)
        yield proxy
        proxy.close()


def start(fleet: Fleet, proxy: LosingProxy, **environment: str) -> Child:
    """A dispatcher, and a worker with room for one message, behind the proxy."""
    fleet.start(workers=0, **SHORT)
    url = fleet.environment["PHOTABATCH_BROKER_URL"].replace(f":{proxy.target}/", f":{proxy.port}/")
    return fleet.start_worker(PHOTABATCH_BROKER_URL=url, PHOTABATCH_THREADS="1", **SHORT, **environment)


def takes_ticks(fleet: Fleet) -> bool:
    """Its own exchange is known to the broker as soon as it consumes."""
    return eventually(lambda: fleet.redis.keys("_kombu.binding.worker.*"))


def ends_itself(worker: Child) -> bool:
    return eventually(lambda: worker.returncode == FAILED, within_s=8 * SILENCE_S)


def test_a_worker_whose_window_is_lost_ends_itself_and_its_successor_works(
    idle_fleet: Fleet, engine: Engine, broker: LosingProxy
) -> None:
    worker = start(idle_fleet, broker)
    assert takes_ticks(idle_fleet)
    broker.loses_acknowledgements = True
    add_jobs(engine, 1)
    assert eventually(lambda: broker.cuts)
    broker.loses_acknowledgements = False
    assert ends_itself(worker), worker.log_tail()
    assert "no message taken for 3 s though one is waiting" in worker.log_tail(100)
    idle_fleet.start_worker(**SHORT)
    all_succeed(idle_fleet, engine, 1, within_s=90)


def test_a_worker_whose_event_loop_hangs_ends_itself(idle_fleet: Fleet, engine: Engine, broker: LosingProxy) -> None:
    worker = start(idle_fleet, broker, PHOTABATCH_FAILPOINT="before_submit:block:300")
    add_jobs(engine, 1)
    assert ends_itself(worker), worker.log_tail()
    assert "the event loop has not answered for 3 s" in worker.log_tail(100)
    expire_leases(engine)
    idle_fleet.start_worker(**SHORT)
    all_succeed(idle_fleet, engine, 1)


@pytest.mark.campaign
def test_an_idle_worker_a_cut_off_one_and_one_without_dispatcher_live_on(
    idle_fleet: Fleet, engine: Engine, broker: LosingProxy
) -> None:
    worker = start(idle_fleet, broker)
    assert takes_ticks(idle_fleet)
    time.sleep(2 * SILENCE_S)
    broker.set(Mode.BLACK_HOLE)
    time.sleep(2 * SILENCE_S)
    broker.set(Mode.PASS)
    idle_fleet.child("dispatcher").ask_to_stop()
    time.sleep(2 * SILENCE_S)
    assert worker.is_alive, worker.log_tail()


@pytest.mark.campaign
def test_a_worker_busy_with_long_calls_lives_on(idle_fleet: Fleet, engine: Engine, broker: LosingProxy) -> None:
    idle_fleet.configure(latency="12")
    worker = start(idle_fleet, broker, PHOTABATCH_PHOTA_MODE="sync")
    add_jobs(engine, 1)
    assert eventually(lambda: states(engine) == {"succeeded": 1}, within_s=60)
    assert worker.is_alive, worker.log_tail()
