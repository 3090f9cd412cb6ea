"""Jobs are checked one by one, and wait with their faults on disk."""

import json
from typing import Any

import pytest

from clients.phota_requests import Problem
from producer.manifests.checking import Checker, TooManyJobs
from producer.manifests.spool import Spool
from producer.ownership import OPERATOR, Owner

GOOD = {"operation": "generate", "params": {"prompt": "a boat"}}


def checker(spool: Spool, **options: Any) -> Checker:
    return Checker(spool, spool.add, allowed_hosts=(), owner=Owner(OPERATOR, "photabatch"), **options)


def test_jobs_and_faults_come_back_in_their_order() -> None:
    spool = Spool("index")
    checker(spool).take_records([GOOD, 7, GOOD, {}])
    spool.refuse_late(2, Problem("custom_id", "duplicate_custom_id", "custom_id: is taken"))
    rows = [row for bite in spool.bites() for row in json.loads(bite.rows)]
    faults = [json.loads(fault) for fault in spool.faults()]
    assert [row["number"] for row in rows] == [0, 2]
    assert [fault["index"] for fault in faults] == [1, 2, 3]
    assert (spool.jobs, spool.refused) == (2, 3)


def test_bites_are_bounded_by_rows_and_by_bytes() -> None:
    spool = Spool("line")
    long = GOOD | {"params": {"prompt": "x" * 60_000}}
    for _ in range(2):
        checker(spool).take_records([long] * 100 + [GOOD] * 3_000)
    bites = list(spool.bites())
    assert sum(bite.jobs for bite in bites) == spool.jobs == 6_200
    assert all(bite.jobs <= 2_500 and len(bite.rows) < 5_000_000 for bite in bites)


def test_more_jobs_than_a_body_may_have_end_it() -> None:
    spool = Spool("line")
    several = checker(spool, most=3)
    several.take(json.dumps(GOOD).encode() + b"\n{\n{\n")
    with pytest.raises(TooManyJobs):
        several.take(b"{\n")
    assert (spool.jobs, spool.refused) == (1, 2)


def test_blank_lines_count_for_the_length_of_a_body() -> None:
    several = checker(Spool("line"), most=3)
    several.take(b"\n\n\n")
    with pytest.raises(TooManyJobs):
        several.take(b"\n")
