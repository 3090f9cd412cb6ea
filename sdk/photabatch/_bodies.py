"""Bodies of requests, as pieces of bytes: a million jobs or a large file need no more memory than one piece.

A list, tuple or path can be sent again, should the connection break; anything else is read once.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Protocol

PIECE_BYTES = 256 * 1024

JobSpec = Mapping[str, Any]
Jobs = Iterable[JobSpec]
AsyncJobs = Iterable[JobSpec] | AsyncIterable[JobSpec]
FilePath = str | os.PathLike[str]


class Body(Protocol):
    """`length` in bytes, where it is known before; `is_repeatable`: it can be sent (again)."""

    @property
    def length(self) -> int | None: ...

    @property
    def is_repeatable(self) -> bool: ...

    def pieces(self) -> Iterator[bytes]: ...

    def apieces(self) -> AsyncIterator[bytes]: ...


def as_json(value: Any) -> bytes:
    """Compact JSON in one line; knows `datetime` and `Decimal`. Raise TypeError, ValueError."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_plain).encode()


class Bytes:
    """A body in memory."""

    is_repeatable = True

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length: int | None = len(content)

    def pieces(self) -> Iterator[bytes]:
        yield self._content

    async def apieces(self) -> AsyncIterator[bytes]:
        yield self._content


class JobLines:
    """Jobs as JSONL, a line a job."""

    length = None

    def __init__(self, jobs: AsyncJobs) -> None:
        if isinstance(jobs, str | bytes | Mapping) or not isinstance(jobs, Iterable | AsyncIterable):
            raise TypeError("jobs: pass an iterable of jobs; a file of them goes to submit_manifest")
        self._jobs = jobs
        self._is_listed = isinstance(jobs, list | tuple)
        self._is_begun = False

    @property
    def is_repeatable(self) -> bool:
        return self._is_listed or not self._is_begun

    def pieces(self) -> Iterator[bytes]:
        if not isinstance(self._jobs, Iterable):
            raise TypeError("jobs: an asynchronous iterable needs AsyncClient")
        self._is_begun = True
        piece = bytearray()
        for job in self._jobs:
            piece += as_json(job) + b"\n"
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)

    async def apieces(self) -> AsyncIterator[bytes]:
        if isinstance(self._jobs, Iterable):
            for each in self.pieces():
                yield each
            return
        self._is_begun = True
        piece = bytearray()
        async for job in self._jobs:
            piece += as_json(job) + b"\n"
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)


class FileBody:
    """A file by its path: opened for each try, read piece by piece."""

    is_repeatable = True

    def __init__(self, path: FilePath) -> None:
        """Raise OSError."""
        self._path = Path(path)
        self.length: int | None = self._path.stat().st_size

    def pieces(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            yield from _read(file)

    async def apieces(self) -> AsyncIterator[bytes]:
        with await asyncio.to_thread(self._path.open, "rb") as file:
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                yield piece


class OpenFile:
    """A file that the caller opened, in binary mode: read once, from where it stands."""

    length = None

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._is_begun = False

    @property
    def is_repeatable(self) -> bool:
        return not self._is_begun

    def pieces(self) -> Iterator[bytes]:
        self._is_begun = True
        yield from _read(self._file)

    async def apieces(self) -> AsyncIterator[bytes]:
        self._is_begun = True
        while piece := await asyncio.to_thread(self._file.read, PIECE_BYTES):
            yield piece


def file_body(manifest: FilePath | IO[bytes]) -> Body:
    """Raise OSError."""
    return FileBody(manifest) if isinstance(manifest, str | os.PathLike) else OpenFile(manifest)


def _read(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")
