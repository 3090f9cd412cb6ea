"""Phota fails half of the calls: the fleet repeats a tenth of what it calls, not all at once, and loses nothing."""

import time

import pytest
from sqlalchemy import Engine

from tests.acceptance.conftest import Fleet, eventually, states
from tests.acceptance.test_faults import add_jobs, all_succeed

JOBS = 300


@pytest.mark.campaign
def test_half_of_the_calls_fail_for_a_while(idle_fleet: Fleet, engine: Engine) -> None:
    idle_fleet.configure(faults=[{"match": "submit", "fault": "500", "rate": 0.5}])
    started = time.monotonic()
    idle_fleet.start()
    add_jobs(engine, JOBS)
    assert eventually(lambda: states(engine).get("succeeded", 0) >= 40, within_s=120)
    idle_fleet.configure(faults=[])
    all_succeed(idle_fleet, engine, JOBS, within_s=180)
    ledger = idle_fleet.ledger()
    failed = ledger["faults"]["submit 500"]
    assert 10 < failed <= 1 + JOBS / 10 + (time.monotonic() - started), "each was repeated once"
