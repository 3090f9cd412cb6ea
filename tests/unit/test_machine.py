"""Whatever comes between any two effects: no job is lost, paid for twice, or ends twice.

The real stages, chunks, recorder and outcomes on rows in memory (tests/machine); that those are what Postgres has,
tests/integration/test_machine_matches.py shows. An interleaving is one sequence of steps (who calls, what is answered,
who dies, what time it is), after which faults end and everything has to come to its end.
"""

import sys
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.machine.__main__ import WALKS, told
from tests.machine.broken import BROKEN
from tests.machine.drain import drain
from tests.machine.promises import check
from tests.machine.rules import RULES
from tests.machine.walk import campaign, quiet, walk
from tests.machine.world import Violation, World

_ENOUGH = 1_500  # walks after which every broken statement has been noticed; most are within a hundred


class Interleavings(RuleBasedStateMachine):
    """Each rule of tests/machine/rules.py with a number to choose by; what breaks a promise is made short."""

    world: World | None = None
    is_broken = False

    @initialize(number=st.integers(0, 2**20 - 1))
    def begin(self, number: int) -> None:
        self.world = World(number)

    def do(self, name: str, pick: int) -> None:
        assert self.world is not None
        try:
            if RULES[name][0](self.world, pick) is not None:
                check(self.world)
        except Violation:
            self.is_broken = True
            raise

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            if not self.is_broken:
                drain(self.world)
        finally:
            self.world.close()


def _as_rule(name: str) -> Any:
    def step(machine: Interleavings, pick: int) -> None:
        machine.do(name, pick)

    step.__name__ = step.__qualname__ = name
    return rule(pick=st.integers(0, 4095))(step)


for each in RULES:
    setattr(Interleavings, each, _as_rule(each))

TestInterleavings = pytest.mark.usefixtures("_quiet")(Interleavings.TestCase)
TestInterleavings.settings = settings(
    max_examples=500,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.fixture
def _quiet() -> Any:
    with quiet():
        yield


def test_walks_keep_every_promise() -> None:
    tally = campaign(range(1_500))
    assert len(tally.distinct) > 1_350
    for end in ("succeeded", "failed", "rejected", "cancelled", "expired"):
        assert tally.seen[f"ended as {end}"] > 0, end
    assert min(tally.seen[name] for name in ("refused writes", "retries", "kill", "cut", "double", "arrive")) > 0


@pytest.mark.parametrize("name", BROKEN)
def test_a_statement_that_breaks_its_promise_is_noticed(name: str) -> None:
    with quiet(), pytest.raises(Violation):
        [walk(seed, changed=BROKEN[name]) for seed in range(_ENOUGH)]


@pytest.mark.campaign
@pytest.mark.timeout(7_200)
def test_a_hundred_thousand_interleavings(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.process_time()
    tally = campaign(range(WALKS))
    with capsys.disabled():
        sys.stdout.write("\n" + told(tally, time.process_time() - began))
    assert len(tally.distinct) >= 100_000
