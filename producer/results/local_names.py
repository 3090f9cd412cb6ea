"""What outputs are called in a folder or an archive: after their jobs, never two of them alike."""

import hashlib
import os
import re
import sqlite3
import unicodedata
from collections.abc import Sequence
from itertools import accumulate
from pathlib import PurePosixPath
from typing import Any

from clients.output_keys import LONGEST_SEGMENT, clean_path
from models.results import JobResult

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
_WINDOWS_LETTERS = re.compile(r'[\\:*?"<>|]')
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_HASH_DIGITS = 16


def local_name(job: JobResult, output: dict[str, Any]) -> str:
    """`a/1.jpg` stays `a/1.jpg`; `a/1.heic` becomes `a/1.heic.jpg`; several outputs get `-0`, `-1` …"""
    return local_names(job, output)[0]


def local_names(job: JobResult, output: dict[str, Any], *, is_portable: bool = os.name == "nt") -> list[str]:
    """Relative paths to try in turn: `local_name`, the same with the end of the job's id, and the id alone.

    No part is empty, `.` or `..`, longer than 255 bytes, or has control characters; with `is_portable` neither what
    is special on Windows.
    """
    suffix = PurePosixPath(output["key"]).suffix
    suffix = suffix if _SUFFIX.fullmatch(suffix) else ""
    number = f"-{output['index']}" if len(job.outputs) > 1 else ""
    cleaned = clean_path(job.custom_id or "")
    if is_portable:
        cleaned = clean_path("/".join(_portable(part) for part in cleaned.split("/")))
    *folders, name = (cleaned or str(job.id)).split("/")
    name = name.removesuffix(suffix) or name
    endings = (f"{number}{suffix}", f"-{job.id.hex[-8:]}{number}{suffix}")
    called = ["/".join([*(_cut(folder, "") for folder in folders), _cut(name, ending)]) for ending in endings]
    return [*called, f"{job.id}-{output['index']}{suffix}"]


def _portable(part: str) -> str:
    part = _WINDOWS_LETTERS.sub("_", part).rstrip(". ")
    return f"_{part}" if _WINDOWS_DEVICES.match(part) else part


def _cut(part: str, ending: str) -> str:
    """`part` and its ending in 255 bytes; a hash keeps different ones different."""
    if len((part + ending).encode()) <= LONGEST_SEGMENT:
        return part + ending
    digest = "~" + hashlib.sha256(part.encode()).hexdigest()[:_HASH_DIGITS]
    room = LONGEST_SEGMENT - len((digest + ending).encode())
    return part.encode()[:room].decode(errors="ignore") + digest + ending


class TakenNames:
    """Which names an archive has already; on disk, so a million of them need no memory.

    Names that differ only in case, or in how accents are encoded, are alike: some file systems take them for one.
    """

    def __init__(self) -> None:
        self._names = sqlite3.connect("")  # a temporary file of SQLite, gone when it is closed
        self._names.execute("CREATE TABLE names (name TEXT PRIMARY KEY, is_folder INTEGER) WITHOUT ROWID")

    def take(self, candidates: Sequence[str]) -> str:
        """The first that is free; the last one, which should be nobody else's, is taken unasked."""
        chosen = next((name for name in candidates[:-1] if self._is_free(name)), candidates[-1])
        *folders, name = _folded(chosen)
        self._names.executemany("INSERT OR IGNORE INTO names VALUES (?, 1)", [(folder,) for folder in folders])
        self._names.execute("INSERT OR IGNORE INTO names VALUES (?, 0)", (name,))
        return chosen

    def close(self) -> None:
        self._names.close()

    def _is_free(self, name: str) -> bool:
        """Nothing has that name, and nothing but folders has those above it."""
        *folders, name = _folded(name)
        return self._kind(name) is None and all(self._kind(folder) != 0 for folder in folders)

    def _kind(self, name: str) -> int | None:
        """1: a folder, 0: a file, None: free."""
        row = self._names.execute("SELECT is_folder FROM names WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])


def _folded(name: str) -> list[str]:
    """`A/b/c` as `a`, `a/b`, `a/b/c`."""
    return list(
        accumulate(unicodedata.normalize("NFC", name).casefold().split("/"), lambda above, part: f"{above}/{part}")
    )
