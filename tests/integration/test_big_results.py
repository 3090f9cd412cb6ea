"""Stage `store` under results that are large, hostile, or poison: the loop goes on, and so do the other jobs."""

import asyncio
import hashlib
import itertools
import os
import signal
import struct
import time
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from clients.image_inspector import ImageInspector
from clients.images import BadImage, inspect
from models.claims import Move
from models.states import JobState
from tests.integration import uploads as fixtures
from tests.integration.hostile_files import hostile_files
from tests.integration.hostile_jpeg import photo
from tests.integration.hostile_png import chunk
from tests.integration.uploads import BUCKET, Uploads
from tests.unit.test_outcomes import Quiet, job
from worker.kit import Kit
from worker.outcomes import after_error
from worker.store import store

s3, uploads = fixtures.s3, fixtures.uploads

_numbers = itertools.count()

POISON = b"\xff\xd8\xff poison"


class Downloads:
    """Phota's results, by their links."""

    def __init__(self) -> None:
        self.results: dict[str, bytes] = {}

    async def download(self, url: str, *, max_bytes: int) -> bytes:
        assert len(self.results[url]) <= max_bytes
        return self.results[url]


class Fragile(ImageInspector):
    """Its children cannot bear one picture."""

    async def inspect(self, data: bytes) -> Any:
        return await self._run(crash if data == POISON else inspect, data)


def crash(data: bytes) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.fixture(scope="module")
def inspector() -> Iterator[ImageInspector]:
    inspector = Fragile()
    yield inspector
    inspector.close()


@pytest.fixture
def kit(uploads: Uploads, inspector: ImageInspector) -> Kit:
    unused: Any = None
    return Kit(
        phota=Downloads(),  # type: ignore[arg-type]
        storage=uploads.storage,
        webhooks=unused,
        inspector=inspector,
        sightings=Quiet(),  # type: ignore[arg-type]
        is_sync=False,
        spare_bucket=BUCKET,
        sends_links=True,
    )


async def keep(kit: Kit, data: bytes) -> Move:
    """What becomes of a job whose result is this."""
    url = f"https://cdn/{next(_numbers)}"
    storing = job(JobState.STORING, result_urls=[url])
    kit.phota.results[url] = data  # type: ignore[attr-defined]
    try:
        return await store(storing, kit)
    except Exception as error:
        return after_error(storing, error, kit)


def large_png(side: int = 6000) -> bytes:
    """Over 100 MB, since it is not packed."""
    row = b"\0" + os.urandom(3 * side)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(row * side, 0))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def test_the_loop_goes_on_while_a_hundred_megabytes_are_stored(kit: Kit) -> None:
    """Between two beats of its heart the loop never works for half as long as to hash them once would take."""
    data, beats = large_png(), []

    async def beat() -> None:
        while True:
            beats.append(time.thread_time())
            await asyncio.sleep(0.005)

    async def run() -> Move:
        await kit.inspector.inspect(photo("JPEG"))  # so that the child is there
        heart = asyncio.ensure_future(beat())
        move = await keep(kit, data)
        heart.cancel()
        return move

    move = asyncio.run(run())
    before = time.thread_time()
    assert move.outputs[0].sha256 == hashlib.sha256(data).hexdigest()
    hashing = time.thread_time() - before
    assert (move.state, move.outputs[0].bytes) == (JobState.SUCCEEDED, len(data))
    assert len(data) > 100 * 2**20
    assert len(beats) > 10
    assert max(after - before for before, after in pairwise(beats)) < hashing / 2


def test_poison_among_results_fails_alone(kit: Kit) -> None:
    pictures = [photo("JPEG"), photo("PNG"), POISON, photo("WEBP"), photo("HEIF")]

    async def run() -> list[Move]:
        return await asyncio.gather(*(keep(kit, data) for data in pictures))

    moves = asyncio.run(run())
    states = [move.state for move in moves]
    assert states == [JobState.SUCCEEDED] * 2 + [JobState.STORING] + [JobState.SUCCEEDED] * 2
    assert (moves[2].error_code, moves[2].error_message) == ("bad_result", "result: the image makes its decoder crash")


def test_hostile_results_are_not_stored_and_the_job_waits_for_better_ones(kit: Kit) -> None:
    sample = [file for file in hostile_files() if len(file[1]) < 2**16][::11]

    async def run() -> list[Move]:
        return await asyncio.gather(*(keep(kit, data) for _, data, _ in sample))

    moves = asyncio.run(run())
    assert len(moves) > 25
    for (name, data, wanted), move in zip(sample, moves, strict=True):
        assert (move.state is JobState.SUCCEEDED) == ("x" in wanted), name
        assert move.error_code == (None if "x" in wanted else "bad_result"), name
        assert [output.sha256 for output in move.outputs] in ([], [hashlib.sha256(data).hexdigest()]), name


def test_a_poison_photo_is_a_rejected_job_of_its_own(kit: Kit) -> None:
    """Before anything was asked of Phota it costs nothing."""
    with pytest.raises(BadImage) as caught:
        asyncio.run(kit.inspector.inspect(POISON))
    move = after_error(job(JobState.SUBMITTING), caught.value, kit)
    assert (move.state, move.error_code, move.cost_usd) == (JobState.REJECTED, "image_crashed_decoder", None)
