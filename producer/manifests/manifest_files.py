"""Manifests as files: JSONL or CSV, by their name, or by how they begin."""

import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from producer.manifests.checking import Checker
from producer.manifests.csv_manifest import jobs_of_csv

_JSONL = (".jsonl", ".ndjson")
_CSV = ".csv"
_CHUNK = 64 * 2**10  # bytes
_BOM = b"\xef\xbb\xbf"


def is_manifest(path: str) -> bool:
    """By its name alone."""
    return path.lower().endswith((*_JSONL, _CSV))


def read_manifest(path: Path | None, checker: Checker) -> None:
    """All of a file, or of standard input. Memory stays flat.

    CSV is what is called so, JSONL likewise; anything else is JSONL if it begins with `{` or `[`.
    Raise OSError, TooManyJobs.
    """
    if path is None:
        _read(sys.stdin.buffer, checker, name="")
        return
    with path.open("rb") as file:
        _read(file, checker, name=path.name.lower())


def _read(file: BinaryIO, checker: Checker, *, name: str) -> None:
    chunks = _chunks(file)
    first = next(chunks, b"")
    everything = chain([first], chunks)
    if name.endswith(_CSV) or not (name.endswith(_JSONL) or _is_json(first)):
        checker.take_rows(jobs_of_csv(everything))
    else:
        _take_lines(everything, checker)


def _is_json(beginning: bytes) -> bool:
    return beginning.removeprefix(_BOM).lstrip()[:1] in (b"{", b"[", b"")


def _take_lines(chunks: Iterable[bytes], checker: Checker) -> None:
    for chunk in chunks:
        checker.take(chunk)
    checker.end()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
