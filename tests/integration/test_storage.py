"""Objects in a real S3-compatible server."""

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.storage import BucketMissing, ObjectExists, ObjectMissing, Storage
from sandbox.stack import Stack

BUCKET = "photabatch"


@pytest.fixture
def storage(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    services = stack.environment()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, services[name])
    storage = Storage(endpoint_url=services["PHOTABATCH_S3_ENDPOINT_URL"])
    yield storage
    storage.close()


def put(storage: Storage, key: str, data: bytes) -> None:
    sha256 = hashlib.sha256(data).hexdigest()
    storage.put(BUCKET, key, data, content_type="image/jpeg", sha256_hex=sha256)


def test_the_same_bytes_may_be_put_again_and_other_bytes_never(storage: Storage) -> None:
    key = f"{uuid.uuid4()}/1.jpg"
    put(storage, key, b"first")
    put(storage, key, b"first")
    with pytest.raises(ObjectExists):
        put(storage, key, b"other")
    assert storage.get(BUCKET, key, max_bytes=10) == b"first"


def test_an_object_is_listed_headed_and_downloaded(storage: Storage, tmp_path: Path) -> None:
    key = f"{uuid.uuid4()}/ä b+c.jpg"
    put(storage, key, b"bytes")
    assert [info.key for info in storage.list(BUCKET, key[:36])] == [key]
    info = storage.head(BUCKET, key)
    assert info is not None
    assert info.size == 5
    storage.download_file(BUCKET, key, tmp_path / "1.jpg")
    assert (tmp_path / "1.jpg").read_bytes() == b"bytes"


def test_what_is_not_there_is_told_apart(storage: Storage) -> None:
    assert storage.head(BUCKET, "nothing") is None
    with pytest.raises(ObjectMissing):
        storage.get(BUCKET, "nothing", max_bytes=10)
    with pytest.raises(BucketMissing):
        storage.get("no-such-bucket", "nothing", max_bytes=10)
