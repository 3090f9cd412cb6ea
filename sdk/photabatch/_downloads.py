"""Where an output goes below a folder, and how it gets there whole: verified, in one move, over nobody else's file."""

import hashlib
import os
import re
import threading
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Self

from photabatch._bodies import FilePath
from photabatch.errors import DownloadFailed
from photabatch.types import Output, Result

LONGEST_SEGMENT = 255  # bytes; what file systems take between two slashes
_WINDOWS_LETTERS = re.compile(r'[\\:*?"<>|]')
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One output of a finished job."""

    result: Result
    output: Output


def wanted_of(result: Result) -> Iterator[Wanted]:
    return (Wanted(result, output) for output in result.outputs)


def names_of(wanted: Wanted, *, is_windows: bool = os.name == "nt") -> list[str]:
    """Relative paths to try in turn: as the job is called, with its id where that name is taken, and the id alone.

    `a/1.jpg` stays `a/1.jpg`, `a/1.heic` becomes `a/1.heic.jpg`, several outputs get `-0`, `-1` … No part is empty,
    `.` or `..`, longer than 255 bytes, or has control characters; on Windows neither what is special there.
    """
    result, output = wanted.result, wanted.output
    suffix = PurePosixPath(output.key).suffix
    suffix = suffix if _SUFFIX.fullmatch(suffix) else ""
    number = f"-{output.index}" if len(result.outputs) > 1 else ""
    job_id = _clean(result.id, is_windows).replace("/", "_") or "job"
    *folders, name = (_clean(result.custom_id or "", is_windows) or job_id).split("/")
    name = name.removesuffix(suffix) or name
    endings = (f"{number}{suffix}", f"-{job_id[-8:]}{number}{suffix}")
    called = ["/".join([*(_cut(each, "") for each in folders), _cut(name, ending)]) for ending in endings]
    return [*called, _cut(job_id, f"-{output.index}{suffix}")]


class Target:
    """A folder that outputs are put into, by several threads at once."""

    def __init__(self, folder: FilePath) -> None:
        self._folder = Path(folder)
        self._placing = threading.Lock()

    def existing(self, wanted: Wanted) -> Path | None:
        """The file, if it is here already with the same bytes."""
        for path in self._paths(wanted):
            if path.is_file() and path.stat().st_size == wanted.output.bytes and _sha256(path) == wanted.output.sha256:
                return path
        return None

    def partial(self, wanted: Wanted) -> "Partial":
        """Raise OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return Partial(wanted, self._folder / f".{uuid.uuid4().hex}.part")

    def place(self, partial: "Partial") -> Path:
        """Raise OSError."""
        with self._placing:  # what is free is free until the file is there
            path = self._free(partial.wanted)
            partial.path.replace(path)
        return path

    def _free(self, wanted: Wanted) -> Path:
        """The first path that is not taken; the last one holds the job's id, so what is there is an older try."""
        *named, last = self._paths(wanted)
        for path in named:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                continue  # a file of that name stands where a folder would be
            if not os.path.lexists(path):
                return path
        return last

    def _paths(self, wanted: Wanted) -> list[Path]:
        return [self._folder / name for name in names_of(wanted)]


class Partial:
    """An output on its way: a hidden file that vanishes unless it is placed."""

    def __init__(self, wanted: Wanted, path: Path) -> None:
        self.wanted = wanted
        self.path = path
        self._file: IO[bytes] = path.open("wb")
        self._hash = hashlib.sha256()
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._hash.update(piece)
        self._bytes += len(piece)

    def verify(self) -> None:
        """Raise DownloadFailed if these are not the bytes that the API told of."""
        self._file.close()
        if self._hash.hexdigest() != self.wanted.output.sha256:
            raise failure(self.wanted, f"{self._bytes} bytes came, with another SHA-256 than was told")


def failure(wanted: Wanted, reason: str) -> DownloadFailed:
    name = wanted.result.custom_id or wanted.result.id
    message = f"output {wanted.output.index} of {name}: {reason}; download again, what is there stays"
    return DownloadFailed(message, job_id=wanted.result.id, index=wanted.output.index)


def _clean(name: str, is_windows: bool) -> str:
    parts = ("".join("_" if _is_unsafe(letter) else letter for letter in part) for part in name.split("/"))
    if is_windows:
        parts = (_for_windows(part) for part in parts)
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def _is_unsafe(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs")


def _for_windows(part: str) -> str:
    part = _WINDOWS_LETTERS.sub("_", part).rstrip(". ")
    return f"_{part}" if _WINDOWS_DEVICES.match(part) else part


def _cut(part: str, ending: str) -> str:
    """`part` and its ending in 255 bytes; a hash keeps different ones different."""
    if len((part + ending).encode()) <= LONGEST_SEGMENT:
        return part + ending
    digest = "~" + hashlib.sha256(part.encode()).hexdigest()[:16]
    room = LONGEST_SEGMENT - len((digest + ending).encode())
    return part.encode()[:room].decode(errors="ignore") + digest + ending


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
