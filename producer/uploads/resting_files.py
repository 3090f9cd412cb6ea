"""Files that are still being written, told from those that are whole: these have rested for a while."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from producer.sources.folder_tree import photos_below
from producer.sources.selection import EVERYTHING

_PATIENCE = 10  # times the rest: so long a file may be no picture yet


def tags_below(root: Path, *, leave_out: Path | None = None) -> Iterator[tuple[str, str]]:
    """Path and tag of each photo below `root`; the tag changes with every write. Raise OSError for the root.

    Hidden files and names that programs give to what is not finished (`~…`) are passed over, as is what has no suffix
    of a photo: `1.jpg.part`, `1.jpg.crdownload`.
    """
    for path in photos_below(root, selection=EVERYTHING, leave_out=leave_out):
        tag = None if path.rpartition("/")[2].startswith("~") else tag_of(root / path)
        if tag is not None:
            yield path, tag


def tag_of(path: Path) -> str | None:
    """Size and time of change; None if it is gone."""
    try:
        told = path.stat()
    except OSError:
        return None
    return f"{told.st_size}:{told.st_mtime_ns}"


@dataclass(slots=True)
class _Rest:
    tag: str
    since: float
    look_at: float  # not before


class RestingFiles:
    """Moments are seconds of any clock that only goes forward."""

    def __init__(self, *, settle_s: float) -> None:
        """`settle_s`: how long a file must not have changed."""
        self._settle_s = settle_s
        self._resting: dict[str, _Rest] = {}
        self._done: dict[str, str] = {}

    def note(self, found: Mapping[str, str], now: float) -> list[str]:
        """Everything that is there, by its tag; the paths of what has come to rest and is to be looked at."""
        for gone in [path for path in self._resting if path not in found]:
            del self._resting[gone]
        for gone in [path for path in self._done if path not in found]:
            del self._done[gone]
        for path, tag in found.items():
            rest = self._resting.get(path)
            if self._done.get(path) != tag and (rest is None or rest.tag != tag):
                self._resting[path] = _Rest(tag, now, now + self._settle_s)
        return [path for path, rest in self._resting.items() if rest.look_at <= now]

    def tag(self, path: str) -> str:
        """The one that it rests with."""
        return self._resting[path].tag

    def done(self, path: str) -> None:
        """It is dealt with, until it changes."""
        self._done[path] = self._resting.pop(path).tag

    def is_given_up(self, path: str, now: float) -> bool:
        """Whether a file that is no picture has been waited for long enough; else it is looked at again later."""
        rest = self._resting[path]
        rest.look_at = now + self._settle_s
        return now - rest.since >= self._settle_s * _PATIENCE
