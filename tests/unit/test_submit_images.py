"""What Phota's servers cannot reach travels in the request; everything else is handed over as it is."""

import asyncio
import base64
from typing import Any

import httpx
import pytest

from clients.phota import Handle
from clients.phota_requests import Params
from clients.remote_images import ImageMissing
from clients.storage import StorageUnavailable
from models.states import JobState
from settings import Settings
from tests.unit.test_outcomes import Quiet, job
from worker.addresses import reaches_private_hosts
from worker.kit import Kit
from worker.submit import submit

INLINE = base64.b64encode(b"jpeg").decode()
PRIVATE, PUBLIC = "http://minio.internal/a.jpg", "https://example.com/b.jpg"


class Open(Quiet):
    """Sightings of a gate that is open."""

    closed_for_s = 0.0
    clock_off_s = 0.0

    def likely_at_s(self, operation: str) -> float:
        return 2.0


class Phota:
    """Keeps what it was given."""

    def __init__(self) -> None:
        self.images: list[str] = []

    async def submit(self, params: Params, **_: Any) -> Handle:
        self.images = list(params.body()["images"])
        return Handle("1", "https://api/jobs/1", None, 202)


class Late(Open):
    """And of a host whose clock is an hour behind the database's."""

    clock_off_s = -3600.0


def handed_over(*images: str, answer: httpx.Response | None, sightings: Open = Open()) -> list[str]:  # noqa: B008
    """With `answer` from the hosts that Phota does not reach; None if it reaches them."""
    phota, transport = Phota(), httpx.MockTransport(lambda _: answer or httpx.Response(500))
    unused: dict[str, Any] = dict.fromkeys(("storage", "webhooks", "inspector"))
    kit = Kit(
        **unused,
        phota=phota,  # type: ignore[arg-type]
        sightings=sightings,  # type: ignore[arg-type]
        is_sync=False,
        spare_bucket="photabatch",
        sends_links=True,
        allowed_hosts=("minio.internal", "10.0.0.0/8"),
        images=httpx.AsyncClient(transport=transport) if answer is not None else None,
    )
    params = {"prompt": "warmer", "images": list(images)}
    move = asyncio.run(submit(job(operation="edit", params=params), kit))
    assert move.state is JobState.RUNNING
    return phota.images


def test_an_image_of_an_allowed_host_travels_inline() -> None:
    ten = "https://10.1.2.3/c.jpg"
    found = handed_over(PRIVATE, PUBLIC, ten, answer=httpx.Response(200, content=b"jpeg"))
    assert found == [INLINE, PUBLIC, INLINE]


def test_a_phota_that_reaches_the_host_fetches_it_itself() -> None:
    assert handed_over(PRIVATE, PUBLIC, answer=None) == [PRIVATE, PUBLIC]


def test_an_image_that_is_gone_is_told_before_any_call() -> None:
    with pytest.raises(ImageMissing, match=r"minio\.internal/a\.jpg answered 404"):
        handed_over(PRIVATE, answer=httpx.Response(404))


def test_a_worker_whose_clock_is_wrong_signs_no_link() -> None:
    with pytest.raises(StorageUnavailable, match="-3600 s off"):
        handed_over("s3://photos/a.jpg", answer=None, sightings=Late())


@pytest.mark.parametrize(
    ("root", "is_near"), [("http://127.0.0.1:8190/v1/phota", True), ("https://api.photalabs.com/v1/phota", False)]
)
def test_only_a_phota_of_our_own_network_reaches_private_hosts(root: str, is_near: bool) -> None:
    assert reaches_private_hosts(Settings(phota_base_url=root)) is is_near
