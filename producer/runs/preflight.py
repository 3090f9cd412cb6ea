"""Photos judged before a run: which would be done, which repeat others, which cannot be, and what may disappoint.

Pure but for a temporary file in which repeats are found, so that a million photos take no more memory than ten.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from clients.image_survey import Surveyed
from clients.phota_requests import Operation

LARGEST_SIDE = 4096  # px; Phota makes photos with a longer one smaller: docs/phota-api.md 6
SMALL_SIDE = 512  # px
_SIDES = {"1K": 1024, "2K": 2048, "4K": 4096}  # px, the longest side
_EXAMPLES = 3  # of each kind


class Kind(StrEnum):
    """What becomes of a photo: exactly one of these."""

    READY = "ready"  # it would be done
    DONE_BEFORE = "done_before"  # the same content was done in an earlier run: skipped
    DUPLICATE = "duplicate"  # the same content came earlier in this set: done once
    CORRUPT = "corrupt"  # empty, cut off or damaged
    UNSUPPORTED = "unsupported"  # not JPEG, PNG, WebP or HEIC
    TOO_LARGE = "too_large"  # more bytes or pixels than are taken
    UNREADABLE = "unreadable"  # the file could not be read

    @property
    def is_refused(self) -> bool:
        """Whether it would become a `rejected` job, which costs nothing."""
        return self in (Kind.CORRUPT, Kind.UNSUPPORTED, Kind.TOO_LARGE, Kind.UNREADABLE)


class Notice(StrEnum):
    """What to know of a photo that would be done all the same; any number of these.

    `too_small` is no refusal: Phota documents no minimum for what it works on (docs/phota-api.md 6), only that training
    photos are best at 1K or more. Below half of that on the shorter side most of a 2K result is invented.
    """

    TOO_SMALL = "too_small"  # the shorter side has fewer than SMALL_SIDE px
    OVER_4096 = "over_4096"  # the longer side has more than LARGEST_SIDE px: Phota makes it smaller first
    COMES_BACK_SMALLER = "comes_back_smaller"  # fewer pixels would come back than went in
    TURNED = "turned"  # EXIF says that it lies on its side: it is turned upright at upload


_KINDS = {
    "unsupported_format": Kind.UNSUPPORTED,
    "not_an_image": Kind.UNSUPPORTED,
    "file_too_large": Kind.TOO_LARGE,
    "image_too_large": Kind.TOO_LARGE,
    "unreadable": Kind.UNREADABLE,
}  # by the code of a fault; all others are damages


def returned_side(operation: Operation, resolution: str = "1K") -> int | None:
    """Pixels of the longest side of what comes back; None where nothing goes in.

    enhance and remix are fixed to 2K, edit returns its `resolution` (docs/phota-api.md 2.2, 2.4, 2.5). That nK means
    n x 1024 px was measured for 1K at 1:1 only (2.6); for other sizes and ratios it is assumed of the longest side.
    """
    if operation is Operation.GENERATE:
        return None
    return _SIDES[resolution if operation is Operation.EDIT else "2K"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A photo of the set. `content`: what it holds, such as `sha256:…` or `etag:…`; None: by its SHA-256, if any."""

    custom_id: str
    surveyed: Surveyed
    content: str | None = None

    @property
    def identity(self) -> str | None:
        if self.content is None and self.surveyed.sha256 is not None:
            return f"sha256:{self.surveyed.sha256}"
        return self.content


@dataclass(frozen=True, slots=True)
class Verdict:
    """One photo, judged. `width` and `height` in pixels, upright; `same_as`: custom_id of the first of its content."""

    custom_id: str
    kind: Kind
    bytes: int
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    notices: tuple[Notice, ...] = ()
    message: str | None = None
    same_as: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "custom_id": self.custom_id,
            "kind": self.kind,
            "warnings": list(self.notices),
            "width": self.width,
            "height": self.height,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "message": self.message,
            "same_as": self.same_as,
        }


@dataclass(slots=True)
class Count:
    """How many photos, and the first few of them."""

    photos: int = 0
    examples: list[Verdict] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.photos += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(verdict)


def _nothing(_contents: Sequence[str]) -> Collection[str]:
    return ()


class Preflight:
    """Judges photos group by group and counts them. Close it.

    `returned`: px, of `returned_side`. `done`: which of some contents were done before, asked once a group.
    """

    def __init__(
        self, *, returned: int | None = None, done: Callable[[Sequence[str]], Collection[str]] = _nothing
    ) -> None:
        self.photos = 0
        self.bytes = 0
        self.bytes_to_do = 0  # of those that are ready
        self.kinds = {kind: Count() for kind in Kind}
        self.notices = {notice: Count() for notice in Notice}
        self._returned = returned
        self._done = done
        self._first = _FirstOf()

    @property
    def jobs(self) -> int:
        """Photos that would be worked on and paid for."""
        return self.kinds[Kind.READY].photos

    @property
    def refused(self) -> int:
        return sum(count.photos for kind, count in self.kinds.items() if kind.is_refused)

    def add(self, group: Sequence[Candidate]) -> list[Verdict]:
        """Judge some hundred photos at a time, in their order."""
        sound = [each for each in group if each.surveyed.fault is None]
        contents = list(dict.fromkeys(each.identity for each in sound if each.identity is not None))
        done = set(self._done(contents)) if contents else set()
        verdicts = [self._judge(candidate, done) for candidate in group]
        for verdict in verdicts:
            self._count(verdict)
        return verdicts

    def summary(self) -> dict[str, Any]:
        """For programs: `{"photos", "jobs", "bytes", "bytes_to_do", "kinds", "warnings", "examples"}`, all in numbers
        but the examples, which are custom_ids by kind or warning."""
        counts: Iterable[tuple[Kind | Notice, Count]] = [*self.kinds.items(), *self.notices.items()]
        return {
            "photos": self.photos,
            "jobs": self.jobs,
            "bytes": self.bytes,
            "bytes_to_do": self.bytes_to_do,
            "kinds": {str(kind): count.photos for kind, count in self.kinds.items()},
            "warnings": {str(notice): count.photos for notice, count in self.notices.items()},
            "examples": {str(name): [each.custom_id for each in count.examples] for name, count in counts},
        }

    def close(self) -> None:
        self._first.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _judge(self, candidate: Candidate, done: Collection[str]) -> Verdict:
        found, content = candidate.surveyed, candidate.identity
        if found.fault is not None:
            kind = _KINDS.get(found.fault.code, Kind.CORRUPT)
            return Verdict(candidate.custom_id, kind, found.bytes, found.sha256, message=found.fault.message)
        size = _upright_size(found)
        if content in done:
            return Verdict(candidate.custom_id, Kind.DONE_BEFORE, found.bytes, found.sha256, *size)
        same_as = None if content is None else self._first.of(content, candidate.custom_id)
        if same_as is not None:
            return Verdict(candidate.custom_id, Kind.DUPLICATE, found.bytes, found.sha256, *size, same_as=same_as)
        notices = _notices(found, self._returned)
        return Verdict(candidate.custom_id, Kind.READY, found.bytes, found.sha256, *size, notices)

    def _count(self, verdict: Verdict) -> None:
        self.photos += 1
        self.bytes += verdict.bytes
        self.bytes_to_do += verdict.bytes if verdict.kind is Kind.READY else 0
        self.kinds[verdict.kind].add(verdict)
        for notice in verdict.notices:
            self.notices[notice].add(verdict)


def _upright_size(found: Surveyed) -> tuple[int | None, int | None]:
    if found.info is None:
        return None, None
    size = (found.info.width, found.info.height)
    return size if found.info.orientation < 5 else size[::-1]


def _notices(found: Surveyed, returned: int | None) -> tuple[Notice, ...]:
    if found.info is None:
        return ()
    longest, shortest = max(found.info.width, found.info.height), min(found.info.width, found.info.height)
    said = {
        Notice.TOO_SMALL: shortest < SMALL_SIDE,
        Notice.OVER_4096: longest > LARGEST_SIDE,
        Notice.COMES_BACK_SMALLER: returned is not None and returned < longest,
        Notice.TURNED: found.info.orientation != 1,
    }
    return tuple(notice for notice, holds in said.items() if holds)


class _FirstOf:
    """Which photo was the first of its content; SQLite, in a temporary file that it deletes itself."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("", isolation_level=None)  # no name: a temporary file, written once memory is full
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute("PRAGMA cache_size = -16384")  # KB
        self._file.execute("CREATE TABLE first (content BLOB PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID")
        self._file.execute("BEGIN")

    def of(self, content: str, name: str) -> str | None:
        """None if this is the first, which is remembered."""
        key = hashlib.blake2b(content.encode(), digest_size=16).digest()
        if self._file.execute("INSERT OR IGNORE INTO first VALUES (?, ?)", (key, name)).rowcount:
            return None
        row = self._file.execute("SELECT name FROM first WHERE content = ?", (key,)).fetchone()
        return str(row[0])

    def close(self) -> None:
        self._file.close()
