"""Photos looked at before a run, by the thousand: what each one is, by its header, and its SHA-256.

Files are read and parsed in child processes, a chunk of them at a time; a child that crashes or hangs costs only the
file that made it do so.
"""

import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from clients.image_children import ImageChildren
from clients.images import BadImage, ImageInfo, check_bytes, look, look_at_start

START_BYTES = 512 * 2**10  # of an object; EXIF takes up to 64 KB, colour profiles and previews come beside it
_CHUNK = 64  # files
_ENOUGH = 5.0  # seconds after which a child hands back what it has, so that slow disks are not taken for hanging files
_AHEAD = 3  # chunks a child


class Fault(NamedTuple):
    """`code` of a BadImage, or unreadable; `message` is for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Surveyed:
    """`name`: the path or key; `bytes` of the whole file; `sha256` in hex, None where not all of it was read.

    `info` is None with a fault, and where the header goes on behind what was read.
    """

    name: str
    bytes: int
    sha256: str | None
    info: ImageInfo | None
    fault: Fault | None = None


class Surveyor(ImageChildren):
    """Looks at photos in `workers` children. Thread-safe; raises nothing for a bad photo. Close it."""

    def survey(self, paths: Sequence[Path]) -> list[Surveyed]:
        """Files in their order."""
        return list(self.stream(paths))

    def stream(self, paths: Iterable[Path]) -> Iterator[Surveyed]:
        """Files in their order, at flat memory; `paths` is read some hundred ahead."""
        remaining = iter(paths)
        chunks = iter(lambda: [os.fspath(path) for path in islice(remaining, _CHUNK)], [])
        threads = ThreadPoolExecutor(self._workers * 2, thread_name_prefix="survey")
        try:
            ahead = deque(threads.submit(self._chunk, chunk) for chunk in islice(chunks, self._workers * _AHEAD))
            while ahead:
                yield from ahead.popleft().result()
                ahead.extend(threads.submit(self._chunk, chunk) for chunk in islice(chunks, 1))
        finally:
            threads.shutdown(cancel_futures=True)

    def survey_bytes(self, name: str, first: bytes, total: int) -> Surveyed:
        """An object of `total` bytes by its `first` ones, START_BYTES or all of them; it gets no SHA-256."""
        try:
            return Surveyed(name, total, None, self._run_sync(_look_at_start, (first, total)))
        except BadImage as error:
            return Surveyed(name, total, None, None, Fault(error.code, error.message))

    def _chunk(self, paths: Sequence[str]) -> list[Surveyed]:
        done: list[Surveyed] = []
        while len(done) < len(paths):
            try:
                done += self._run_sync(_survey, paths[len(done) :])
            except BadImage:
                return done + [self._one(path) for path in paths[len(done) :]]
        return done

    def _one(self, path: str) -> Surveyed:
        try:
            return self._run_sync(_survey, [path])[0]
        except BadImage as error:
            return Surveyed(path, _size(path), None, None, Fault(error.code, error.message))


def _survey(paths: Sequence[str]) -> list[Surveyed]:
    """In the child: at least one file, and no more than there is time for."""
    until = time.monotonic() + _ENOUGH
    found: list[Surveyed] = []
    for path in paths:
        found.append(_survey_file(path))
        if time.monotonic() > until:
            break
    return found


def _survey_file(path: str) -> Surveyed:
    sha256, size = None, 0
    try:
        size = _regular(path)
        check_bytes(size)
        with Path(path).open("rb") as file:
            data = file.read(size)
        size = len(data)  # another process may have cut it since
        sha256 = hashlib.sha256(data).hexdigest()
        return Surveyed(path, size, sha256, look(data))
    except BadImage as error:
        return Surveyed(path, size, sha256, None, Fault(error.code, error.message))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Surveyed(path, size, None, None, Fault("unreadable", reason))


def _regular(path: str) -> int:
    """Bytes of a file. Raise OSError for what is none: to open a pipe would wait for ever."""
    found = os.stat(path)  # noqa: PTH116
    if not stat.S_ISREG(found.st_mode):
        raise OSError(0, "not a file")
    return found.st_size


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return 0


def _look_at_start(start: tuple[bytes, int]) -> ImageInfo | None:
    return look_at_start(*start)
