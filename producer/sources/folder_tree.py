"""A folder tree as a stream of paths: flat in memory whatever its size, few files open whatever its depth."""

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from producer.sources.pictures import is_picture
from producer.sources.selection import EVERYTHING, Selection

log = logging.getLogger(__name__)

RUN = 50_000  # names of a folder that are sorted at once, which takes about 10 MB


def photos_below(
    root: Path, *, selection: Selection = EVERYTHING, leave_out: Path | None = None, run: int = RUN
) -> Iterator[str]:
    """Paths of photos below `root`, with `/`: those of a folder before those of its folders, each in order of name.

    In a folder of more than `run` names the order begins anew with every run. Hidden files and `leave_out` are passed
    over, links to folders are not followed. A link that leads nowhere counts as a photo, so that whoever reads it can
    tell. A folder that cannot be read is passed over with a warning.

    Raise OSError if `root` itself cannot be read, or reading breaks off.
    """
    return _Tree(root, selection, leave_out.resolve() if leave_out else None, run).photos()


@dataclass(frozen=True, slots=True)
class _Tree:
    root: Path
    selection: Selection
    leave_out: Path | None
    run: int

    def photos(self) -> Iterator[str]:
        below = [self._entries("")]
        while below:
            path = next(below[-1], None)
            if path is None:
                below.pop()
            elif path.endswith("/"):
                below.append(self._entries(path))
            else:
                yield path

    def _entries(self, folder: str) -> Iterator[str]:
        """Photos and folders; these end in a slash, as does `folder` unless it is the root."""
        with self._scan(folder) as entries:
            wanted = (path for entry in entries if (path := self._path(entry, folder)) is not None)
            while run := list(islice(wanted, self.run)):  # the last one closes the folder, before its own are entered
                yield from _in_order(run)

    def _scan(self, folder: str) -> AbstractContextManager[Iterable[os.DirEntry[str]]]:
        try:
            return os.scandir(self.root / folder)
        except OSError as error:
            if not folder:
                raise
            log.warning("folder passed over, it cannot be read: %s: %s", self.root / folder, error.strerror)
            return nullcontext(())

    def _path(self, entry: os.DirEntry[str], folder: str) -> str | None:
        """None for what is passed over."""
        path = folder + entry.name
        if entry.name.startswith("."):
            return None
        if entry.is_dir(follow_symlinks=False):
            return f"{path}/" if self.selection.may_hold(path) and not self._is_left_out(path, entry.name) else None
        return path if is_picture(entry.name) and self.selection.takes(path) and _is_file(entry) else None

    def _is_left_out(self, path: str, name: str) -> bool:
        """Looked at as late as this: the folder may have been made meanwhile."""
        return self.leave_out is not None and name == self.leave_out.name and self._is_same(path)

    def _is_same(self, path: str) -> bool:
        return (self.root / path).resolve() == self.leave_out


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Neither a pipe, which would never end, nor a link to a folder."""
    if not entry.is_symlink():
        return entry.is_file(follow_symlinks=False)
    try:
        return stat.S_ISREG(Path(entry.path).stat().st_mode)
    except OSError:
        return True


def _in_order(run: list[str]) -> list[str]:
    """Files, then folders."""
    return sorted(run, key=lambda path: (path.endswith("/"), path.removesuffix("/")))
