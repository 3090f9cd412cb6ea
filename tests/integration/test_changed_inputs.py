"""An object that was overwritten after it was listed is not worked on under its older identity."""

import asyncio
import base64
import uuid
from typing import Any

import pytest

from clients.storage import ObjectChanged, ObjectMissing, Storage
from models.claims import Move
from models.states import JobState
from tests.integration.test_storage import BUCKET, put, storage
from tests.unit.test_outcomes import job
from tests.unit.test_submit_images import Open, Phota
from worker.kit import Kit
from worker.outcomes import after_error
from worker.submit import submit

__all__ = ["storage"]
SECOND = base64.b64encode(b"second").decode()


def kit_of(storage: Storage, phota: Phota, *, sends_links: bool) -> Kit:
    unused: dict[str, Any] = dict.fromkeys(("webhooks", "inspector"))
    return Kit(
        **unused,
        storage=storage,
        phota=phota,  # type: ignore[arg-type]
        sightings=Open(),  # type: ignore[arg-type]
        is_sync=False,
        spare_bucket=BUCKET,
        sends_links=sends_links,
    )


def listed(storage: Storage, data: bytes) -> dict[str, Any]:
    """A new object, as a job that was made of it keeps it."""
    key = f"{uuid.uuid4()}.jpg"
    put(storage, key, data)
    (info,) = storage.list(BUCKET, key)
    return {"path": f"s3://{BUCKET}/{key}", "bytes": info.size, "etag": info.etag}


def overwrite(storage: Storage, source: dict[str, Any]) -> None:
    storage._s3.put_object(Bucket=BUCKET, Key=source["path"].removeprefix(f"s3://{BUCKET}/"), Body=b"second")


def submitted(storage: Storage, source: dict[str, Any], *, sends_links: bool, **fields: Any) -> tuple[Move, list[str]]:
    """The move, and the images that Phota was sent."""
    phota = Phota()
    kit = kit_of(storage, phota, sends_links=sends_links)
    params = {"prompt": "warmer", "images": [source["path"]]}
    claimed = job(operation="edit", params=params, source=source, **fields)
    try:
        return asyncio.run(submit(claimed, kit)), phota.images
    except (ObjectChanged, ObjectMissing) as error:
        return after_error(claimed, error, kit), phota.images


@pytest.mark.parametrize("sends_links", [True, False])
def test_what_is_as_it_was_listed_is_sent(storage: Storage, sends_links: bool) -> None:
    source = listed(storage, b"second")
    for etag in (source["etag"], source["etag"].strip('"').upper()):  # as listings and events write it
        move, (image,) = submitted(storage, source | {"etag": etag}, sends_links=sends_links)
        assert move.state is JobState.RUNNING
        assert image.startswith("http") if sends_links else image == SECOND


@pytest.mark.parametrize("sends_links", [True, False])
def test_what_was_overwritten_is_refused_before_any_call(storage: Storage, sends_links: bool) -> None:
    source = listed(storage, b"first")
    overwrite(storage, source)
    move, images = submitted(storage, source, sends_links=sends_links)
    assert (move.state, move.error_code, images) == (JobState.REJECTED, "input_object_changed", [])
    assert "run again for what is there now" in str(move.error_message)


def test_after_a_call_that_was_cut_a_person_decides(storage: Storage) -> None:
    source = listed(storage, b"first")
    overwrite(storage, source)
    move, images = submitted(storage, source, sends_links=True, is_first_request=False)
    assert (move.state, move.error_code, images) == (JobState.FAILED, "needs_review", [])


def test_an_object_that_is_gone_is_told_before_a_link_is_sent(storage: Storage) -> None:
    source = {"path": f"s3://{BUCKET}/{uuid.uuid4()}.jpg", "etag": "a"}
    move, images = submitted(storage, source, sends_links=True)
    assert (move.state, move.error_code, images) == (JobState.REJECTED, "input_object_missing", [])


@pytest.mark.parametrize("known", [{}, {"etag": "a", "version_id": "v1"}])
def test_a_link_to_what_nobody_listed_or_to_a_version_asks_nothing(storage: Storage, known: dict[str, str]) -> None:
    move, (image,) = submitted(storage, {"path": f"s3://{BUCKET}/{uuid.uuid4()}.jpg"} | known, sends_links=True)
    assert (move.state, image.startswith("http")) == (JobState.RUNNING, True)
