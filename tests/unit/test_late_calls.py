"""What is decided before and after a call, with nothing that could be called."""

import asyncio
import uuid
from decimal import Decimal
from typing import Any

import pytest

from clients.phota import GateClosed, Handle
from models.claims import REQUEST_ID_AGE_S, ClaimedJob
from models.states import JobState
from tests.machine.phota import MEMORY_S
from tests.unit.test_outcomes import Quiet, job
from worker.kit import Kit
from worker.outcomes import after_error
from worker.submit import submit

_LONGEST_CALL_S = 600.0


class Uncalled:
    """Phota, which counts what it is asked to do."""

    calls = 0

    async def submit(self, *_params: object, **_more: object) -> Handle:
        self.calls += 1
        return Handle("r1", "https://phota/jobs/r1")


class Told(Quiet):
    """Sightings of an open gate that remember why it was closed."""

    closed_for_s = 0.0

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def likely_at_s(self, _operation: str) -> float:
        return 2.0

    def refused(self, reason: str) -> None:
        self.reasons.append(reason)


def kit(**fields: Any) -> Kit:
    nothing: Any = None
    names = ("phota", "storage", "webhooks", "inspector")
    given = {**dict.fromkeys(names, nothing), "is_sync": False, "spare_bucket": "spare", "sends_links": True}
    return Kit(**given | {"sightings": Quiet()} | fields)


def late(age_s: float) -> ClaimedJob:
    params = {"prompt": "a boat", "num_output_images": 1, "output_format": "jpg", "base_model": "nb2"}
    return job(operation="generate", params=params, request_age_s=age_s, is_first_request=False, poll_url=None)


def test_what_was_first_sent_a_day_ago_is_not_sent_again() -> None:
    phota = Uncalled()
    move = asyncio.run(submit(late(MEMORY_S), kit(phota=phota, sightings=Told())))
    assert phota.calls == 0
    assert (move.state, move.error_code, move.cost_usd) == (JobState.FAILED, "needs_review", Decimal("0.15"))


def test_a_call_that_leaves_late_is_still_remembered() -> None:
    assert REQUEST_ID_AGE_S + _LONGEST_CALL_S < MEMORY_S


@pytest.mark.parametrize("reason", ["no_credit", "bad_key", "forbidden"])
def test_a_refused_key_is_told_to_the_fleet(reason: Any) -> None:
    sightings: Any = Told()
    after_error(job(id=uuid.uuid4()), GateClosed("no", code=reason, reason=reason), kit(sightings=sightings))
    assert sightings.reasons == [reason]
