"""Objects in a real S3-compatible server."""

import hashlib
import io
import uuid
from collections.abc import Iterator

import pytest

from clients.storage import BucketMissing, ObjectChanged, ObjectExists, ObjectMissing, Storage
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


def test_an_object_is_listed_headed_and_copied(storage: Storage) -> None:
    key = f"{uuid.uuid4()}/ä b+c.jpg"
    put(storage, key, b"bytes")
    assert [info.key for info in storage.list(BUCKET, key[:36])] == [key]
    info = storage.head(BUCKET, key)
    assert info is not None
    assert info.size == 5
    file = io.BytesIO()
    storage.copy_to(BUCKET, key, file, sha256_hex=hashlib.sha256(b"bytes").hexdigest())
    assert file.getvalue() == b"bytes"


def test_bytes_that_are_not_those_asked_for_are_told(storage: Storage) -> None:
    key = str(uuid.uuid4())
    put(storage, key, b"bytes")
    with pytest.raises(ObjectChanged):
        storage.copy_to(BUCKET, key, io.BytesIO(), sha256_hex="0" * 64)


def test_what_is_not_there_is_told_apart(storage: Storage) -> None:
    assert storage.head(BUCKET, "nothing") is None
    with pytest.raises(ObjectMissing):
        storage.get(BUCKET, "nothing", max_bytes=10)
    with pytest.raises(BucketMissing):
        storage.get("no-such-bucket", "nothing", max_bytes=10)
