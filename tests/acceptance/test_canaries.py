"""Recognisable values in every secret and prompt, a fleet driven through its faults, a search of all it left behind.

What is planted where, and where each may be found afterwards, is in `canaries.py`.
"""

from collections.abc import Iterator

import pytest

from models.engine import new_engine
from sandbox.stack import Stack
from tests.acceptance.canaries import ALLOWED, NAMES, Evidence
from tests.acceptance.conftest import bare_fleet
from tests.acceptance.ordeal import Ordeal
from tests.databases import Databases

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def evidence(stack: Stack, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    """Of one fleet that has met every fault, and has stopped."""
    database_url = databases.new()
    fleet = bare_fleet(stack, database_url, tmp_path_factory.mktemp("canaries"), "--latency", "0.2", "--bytes", "2000")
    engine = new_engine(database_url)
    ordeal = Ordeal(stack, fleet, engine)
    try:
        ordeal.run()
    finally:
        fleet.stop()
        ordeal.close()
    ordeal.gather()
    yield ordeal.evidence
    engine.dispose()


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_is_found_only_where_it_lives(evidence: Evidence, name: str) -> None:
    found = evidence.places(name)
    assert found - set(ALLOWED[name]) == set(), "a leak"


@pytest.mark.parametrize("name", NAMES)
def test_every_canary_was_in_use(evidence: Evidence, name: str) -> None:
    """Or else the search would prove nothing."""
    assert evidence.canaries[name]
    assert set(ALLOWED[name]) - evidence.places(name) == set(), "not where it lives"


def test_links_that_open_objects_are_in_no_log_row_or_message(evidence: Evidence) -> None:
    signed = evidence.matching(r"X-Amz-Signature=[0-9a-f]{64}")
    assert signed == {"told to receivers", "answer jobs 200"}, "who is told of results gets links to them"


@pytest.mark.parametrize(
    "words",
    [
        "transition refused by the database",
        "CheckViolation: 23514 jobs ck_refused",
        "unhandled",
        "database away",
        "Received unregistered task of type 'photabatch.enhanse'",
        "Received and deleted unknown message",
        "Can't decode message body",
        "job rejected: prompt",
        "webhook endpoint disabled",
        "InjectedError: fault injected",
        "nothing is lost, trying again",
    ],
)
def test_every_fault_was_met_and_told(evidence: Evidence, words: str) -> None:
    assert any(words in told for place, told in evidence.texts if place.startswith("log "))


def test_refusals_of_every_kind_were_recorded(evidence: Evidence) -> None:
    assert {"refused", "http_500", "broken", "bad_key", "content_moderation"} <= evidence.codes


def test_command_lines_show_no_secret(evidence: Evidence) -> None:
    lines = dict(evidence.texts)["command lines"].splitlines()
    assert len(lines) >= 8, "Postgres, Valkey, S3 and the fleet"
