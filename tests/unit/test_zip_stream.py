"""A zip of any size at the same memory, whole or none; what goes into it is fetched patiently."""

import gc
import hashlib
import io
import os
import tracemalloc
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

import pytest

from clients.storage import Storage, StorageUnavailable
from producer.results.downloads import fetch, made_ahead
from producer.results.whole_files import whole_file
from producer.results.zip_stream import ZipStream

NOW = datetime(2026, 5, 14, 18, 5, 2, tzinfo=UTC)


def add(archive: ZipStream, name: str, data: bytes, **fields: Any) -> None:
    archive.add(name, io.BytesIO(data), size=len(data), changed_at=NOW, **fields)


@pytest.mark.parametrize("is_pipe", [False, True])
def test_what_went_in_comes_out(is_pipe: bool) -> None:
    file = io.BytesIO()
    with ZipStream(file, is_pipe=is_pipe) as archive:
        add(archive, "a/ü.jpg", b"picture" * 100)
        add(archive, "lines", b"line\n" * 100, is_text=True)
    with zipfile.ZipFile(file) as read:
        picture, lines = read.infolist()
        assert (read.read(picture), read.read(lines)) == (b"picture" * 100, b"line\n" * 100)
    assert (picture.filename, picture.compress_size) == ("a/ü.jpg", 700)
    assert lines.compress_size < 100
    assert picture.date_time == NOW.astimezone().timetuple()[:6]


def write_many(file: IO[bytes], count: int) -> None:
    with ZipStream(file) as archive:
        for number in range(count):
            add(archive, f"{number}.jpg", b"x")


def test_more_entries_than_65_535_are_all_there(tmp_path: Path) -> None:
    with (tmp_path / "many.zip").open("wb") as file:
        write_many(file, 66_000)
    with zipfile.ZipFile(tmp_path / "many.zip") as read:
        assert read.namelist() == [f"{number}.jpg" for number in range(66_000)]
        assert read.read("65999.jpg") == b"x"


def test_entries_need_no_memory_of_their_own(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with (tmp_path / "many.zip").open("wb") as file:
            write_many(file, 10_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 2**20  # 1 MB of the table of contents is kept; `zipfile` alone would keep all its 3 MB


def break_off(archive: ZipStream) -> None:
    with archive:
        add(archive, "1.jpg", b"one")
        raise RuntimeError


def test_an_error_leaves_no_archive() -> None:
    file = io.BytesIO()
    with pytest.raises(RuntimeError):
        break_off(ZipStream(file))
    gc.collect()  # `zipfile` would write its end by now
    assert b"one" in file.getvalue()
    assert not zipfile.is_zipfile(file)


def write_half(path: Path) -> None:
    with whole_file(path) as file:
        file.write(b"half")
        raise RuntimeError


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.zip"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        write_half(path)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("out.zip", b"old")]
    with whole_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with whole_file(tmp_path / "pipe") as file:
        file.write(b"bytes")
    assert os.read(reader, 10) == b"bytes"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


class ShakyStorage:
    """Breaks off so many times, in the middle of an object."""

    def __init__(self, breaks: int) -> None:
        self.breaks = breaks

    def copy_to(self, bucket: str, key: str, file: IO[bytes], *, sha256_hex: str) -> None:
        self.breaks -= 1
        if self.breaks >= 0:
            file.write(b"garbled picture")
            raise StorageUnavailable("broke off")
        file.write(b"picture")


def test_an_object_that_breaks_off_is_fetched_again_from_its_start() -> None:
    file = io.BytesIO()
    output = {"bucket": "b", "key": "k", "sha256": hashlib.sha256(b"picture").hexdigest()}
    fetch(cast(Storage, ShakyStorage(1)), output, file)
    assert file.getvalue() == b"picture"


def test_things_are_made_ahead_in_their_order_and_not_all_at_once() -> None:
    asked = []

    def items() -> Iterator[int]:
        for number in range(100):
            asked.append(number)
            yield number

    made = made_ahead(lambda number: number * 2, items())
    assert next(made) == 0
    assert len(asked) == 32
    assert list(made) == [number * 2 for number in range(1, 100)]
