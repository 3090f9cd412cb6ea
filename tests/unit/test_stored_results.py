"""Stage `store`: a job succeeds with objects that are whole and its own, or not yet."""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from clients.images import ImageInfo
from clients.storage import Storage, StorageUnavailable
from models.claims import ClaimedJob, Move
from models.states import JobState
from tests.unit.s3_fake import FakeS3, fake_s3
from tests.unit.test_outcomes import Quiet, job
from worker.kit import Kit
from worker.outcomes import after_error
from worker.store import store

FIRST, SECOND, THIRD = (bytes([letter]) * 100 for letter in b"123")


class Inspector:
    """Every picture is one of 4 x 3 pixels."""

    async def inspect(self, data: bytes) -> ImageInfo:
        return ImageInfo("JPEG", "image/jpeg", "jpg", 4, 3, 1)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@contextmanager
def bucket(*faults: str) -> Iterator[tuple[FakeS3, Kit]]:
    unused: dict[str, Any] = dict.fromkeys(("phota", "webhooks"))
    with fake_s3(*faults) as s3:
        storage = Storage(endpoint_url=s3.url)
        yield (
            s3,
            Kit(
                **unused,
                storage=storage,
                inspector=Inspector(),  # type: ignore[arg-type]
                sightings=Quiet(),  # type: ignore[arg-type]
                is_sync=False,
                spare_bucket="spare",
                sends_links=True,
            ),
        )
        storage.close()


def stored(of: ClaimedJob, kit: Kit, *results: bytes) -> Move:
    """With results that a synchronous call has answered with."""
    kit.inline[of.id] = list(results)
    return asyncio.run(store(of, kit))


def test_a_half_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    storing = job(JobState.STORING, result_urls=["https://cdn/1.jpg"])
    with bucket("half", "half") as (s3, kit):
        kit.phota = Downloads(FIRST)  # type: ignore[assignment]
        with pytest.raises(StorageUnavailable) as error:
            asyncio.run(store(storing, kit))
        assert after_error(storing, error.value, kit).state is JobState.STORING
        move = asyncio.run(store(storing, kit))
        (output,) = move.outputs
        whole = s3.objects[f"/{output.bucket}/{output.key}"][0]
    assert (move.state, output.sha256) == (JobState.SUCCEEDED, hashlib.sha256(whole).hexdigest())


class Downloads:
    """Gives the same bytes for every link."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def download(self, url: str, *, max_bytes: int) -> bytes:
        return self._data


def test_other_bytes_for_the_same_job_find_a_place_of_their_own() -> None:
    """As of a worker that had lost its lease, or of a link that renders anew each time."""
    storing = job(JobState.STORING)
    with bucket() as (s3, kit):
        moves = [stored(storing, kit, data) for data in (FIRST, SECOND, THIRD, THIRD, FIRST)]
        keys = [f"{output.bucket}/{output.key}" for move in moves for output in move.outputs]
        found = [s3.objects[f"/{key}"][0] for key in keys]
    spare = f"spare/jobs/{storing.id}-0"
    digits = hashlib.sha256(THIRD).hexdigest()[:16]
    assert keys[1:4] == [f"{spare}.jpg", f"{spare}-{digits}.jpg", f"{spare}-{digits}.jpg"]
    assert keys[4] == keys[0]
    assert found == [FIRST, SECOND, THIRD, THIRD, FIRST]
