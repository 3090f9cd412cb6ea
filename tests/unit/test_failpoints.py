"""Fail points: each is passed somewhere, and does what it is asked for."""

import re
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from clients.failpoints import POINTS, InjectedError, pass_point
from settings import Settings

ROOT = Path(__file__).parents[2]
PASSED = re.compile(r'(?:pass_point|_pass)\(\s*"(\w+)"')


def test_every_point_is_passed_and_every_passage_has_a_name() -> None:
    sources = [path.read_text() for folder in ("worker", "producer", "api") for path in (ROOT / folder).rglob("*.py")]
    assert {name for source in sources for name in PASSED.findall(source)} == set(POINTS)


def test_nothing_happens_without_a_failpoint_or_at_another() -> None:
    pass_point("after_submit", None)
    pass_point("after_submit", "after_submit_too:error")


def test_an_error_at_the_third_passage_alone() -> None:
    failpoint = "in_poll:error:3"
    pass_point("in_poll", failpoint)
    pass_point("in_poll", failpoint)
    with pytest.raises(InjectedError, match="in_poll"):
        pass_point("in_poll", failpoint)
    pass_point("in_poll", failpoint)


def test_a_block_holds_up_whoever_passes_and_lets_go() -> None:
    began = time.monotonic()
    pass_point("in_poll", "in_poll:block:0.05")
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize("failpoint", ["in_poll:kill", "in_poll:error:3", "in_poll:block:35", "in_poll:block:0.5:2"])
def test_what_can_be_asked_for(failpoint: str) -> None:
    assert Settings(failpoint=failpoint).failpoint == failpoint


@pytest.mark.parametrize("failpoint", ["in_poll", "in_poll:", "in_poll:stop", "in_poll:block", "in_poll:kill:x"])
def test_what_cannot_is_refused_at_the_start(failpoint: str) -> None:
    with pytest.raises(ValidationError, match="failpoint"):
        Settings(failpoint=failpoint)
