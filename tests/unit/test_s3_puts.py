"""Whatever the server answers, what counts as stored is whole."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest

from clients.storage import AccessDenied, ObjectExists, Storage, StorageUnavailable
from tests.unit.s3_fake import FakeS3, fake_s3

DATA = b"a picture of some length" * 64
KEY = "/b/k.jpg"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


class Served(NamedTuple):
    s3: FakeS3
    storage: Storage

    def put(self, data: bytes = DATA) -> int:
        """The size that is told of the object."""
        sha256 = hashlib.sha256(data).hexdigest()
        return self.storage.put("b", "k.jpg", data, content_type="image/jpeg", sha256_hex=sha256).size

    @property
    def stored(self) -> bytes:
        return self.s3.objects[KEY][0]


@contextmanager
def served(*faults: str | int | None, head: int = 200) -> Iterator[Served]:
    with fake_s3(*faults, head=head) as s3:
        storage = Storage(endpoint_url=s3.url)
        yield Served(s3, storage)
        storage.close()


@pytest.mark.parametrize(
    "faults",
    [
        [],
        ["half"],
        ["gone", None],
        ["reset"],
        ["reset_half"],
        ["reset_after"],
        ["reset", "half"],
        ["half", 409],
        [503],
        [501],
        ["half", 501],
    ],
)
def test_what_counts_as_stored_is_whole(faults: list[str | int | None]) -> None:
    with served(*faults) as to:
        try:
            size = to.put()
        except StorageUnavailable:  # tried again by the stage
            size = to.put()
        assert (size, to.stored) == (len(DATA), DATA)


@pytest.mark.parametrize("faults", [["half", "half"], ["gone"], ["reset"] * 3, [409], [503] * 3])
def test_what_is_not_stored_whole_is_to_be_tried_again(faults: list[str | int | None]) -> None:
    with served(*faults) as to, pytest.raises(StorageUnavailable):
        to.put()


def test_a_half_that_another_left_is_put_again_by_who_comes_next() -> None:
    with served("half", "half") as to:
        with pytest.raises(StorageUnavailable, match=f"{len(DATA) // 2} bytes were stored of {len(DATA)}"):
            to.put()
        assert to.put() == len(DATA)
        assert to.stored == DATA


@pytest.mark.parametrize("status", [409, 412])
def test_a_key_that_another_took_in_that_moment_is_compared(status: int) -> None:
    with served() as to:
        to.put()
        to.s3.faults = [status]
        assert to.put() == len(DATA)
        to.s3.faults = [status]
        with pytest.raises(ObjectExists):
            to.put(b"other")
        assert to.stored == DATA


def test_what_others_put_is_never_taken_for_a_broken_copy() -> None:
    with served() as to:
        to.s3.objects[KEY] = (DATA[:7], {})
        to.s3.faults = [412]
        with pytest.raises(ObjectExists):
            to.put()
        assert to.stored == DATA[:7]


def test_who_may_not_read_has_the_word_of_the_server() -> None:
    with served(head=403) as to:
        assert to.put() == len(DATA)
        with pytest.raises(AccessDenied):  # taken, and nobody knows by what
            to.put()


def test_of_two_writers_at_once_one_wins_and_both_know_it() -> None:
    """Two generations, or a worker that had lost its lease, with other bytes each."""
    told: dict[bytes, bool] = {}

    def write(to: Served, data: bytes) -> None:
        try:
            to.put(data)
            told[data] = True
        except ObjectExists:
            told[data] = False

    with served() as to:
        threads = [Thread(target=write, args=(to, bytes([letter]) * 999)) for letter in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [data for data, won in told.items() if won] == [to.stored]
        assert len(told) == 8


def test_a_file_is_put_again_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "k.jpg"
    path.write_bytes(DATA)
    with served("half") as to:
        assert to.storage.upload_file("b", "k.jpg", path, "image/jpeg").size == len(DATA)
        assert to.stored == DATA
