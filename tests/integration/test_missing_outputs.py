"""Of a job that is done with fewer results than were ordered it is told how many are missing."""

import uuid
from typing import Any

from sqlalchemy import Engine

from models import DEFAULT_ACCOUNT
from models.jobs import list_jobs
from models.reports import report_page
from tests.integration.ended_jobs import fail, succeed
from tests.integration.test_content import batch_of, same, tick

THREE = {"params": {"image": "s3://photos/1.jpg", "num_output_images": 3}}


def missing(engine: Engine, batch_id: uuid.UUID) -> dict[str, int]:
    """By custom_id, as job objects and report lines tell it alike."""
    with engine.connect() as connection:
        jobs: list[dict[str, Any]] = [
            each.as_json() for each in list_jobs(connection, DEFAULT_ACCOUNT, batch_id, limit=9)
        ]
        lines = [each.as_json() for each in report_page(connection, batch_id, after=uuid.UUID(int=0))]
    told = {job["custom_id"]: job["missing_outputs"] for job in jobs}
    assert told == {line["custom_id"]: line["missing_outputs"] for line in lines}
    return told


def test_results_that_did_not_come_are_told_of_whoever_has_the_rest(engine: Engine) -> None:
    batch = batch_of(engine, same("1", **THREE), same("like 1", **THREE), same("2", "b"), same("3", "c", **THREE))
    first, second, third = tick(engine)
    assert set(missing(engine, batch.id).values()) == {0}  # nothing has ended
    succeed(engine, first)
    succeed(engine, second, key="a/2-0.jpg")
    fail(engine, third)
    tick(engine)
    assert missing(engine, batch.id) == {"1": 2, "like 1": 2, "2": 0, "3": 0}
