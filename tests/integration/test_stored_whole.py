"""What does not arrive at the storage as it left is not stored."""

import hashlib
import uuid

import pytest

from clients.storage import StorageError
from tests.integration.test_storage import BUCKET, Storage, storage

__all__ = ["storage"]


def test_bytes_that_are_not_those_of_their_checksum_are_refused(storage: Storage) -> None:
    key = f"{uuid.uuid4()}/1.jpg"
    sent = hashlib.sha256(b"what was sent").hexdigest()
    with pytest.raises(StorageError):
        storage.put(BUCKET, key, b"what arrived", content_type="image/jpeg", sha256_hex=sent)
    assert storage.head(BUCKET, key) is None
