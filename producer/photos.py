"""Which files a run is about."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif"})  # what Phota takes


class NoSuchSource(ValueError):  # noqa: N818
    """A path that does not exist, or cannot be read."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A file and what it is called in its batch: its path below the folder that was named."""

    path: Path
    custom_id: str


def find_photos(sources: Sequence[Path], *, leave_out: Path | None = None) -> Iterator[Photo]:
    """Photos below folders, in order of their names; files that are named are taken whatever they are called.

    Hidden files and `leave_out`, where results go, are passed over. Raise NoSuchSource before the first photo.
    """
    for source in sources:
        if not source.exists():
            raise NoSuchSource(f"{source}: no such file or folder")
        if not os.access(source, os.R_OK):
            raise NoSuchSource(f"{source}: not readable; check its permissions")
    return _find(sources, leave_out.resolve() if leave_out else None)


def _find(sources: Sequence[Path], leave_out: Path | None) -> Iterator[Photo]:
    taken: set[str] = set()
    for source in sources:
        for path in _files(source, leave_out):
            name = path.relative_to(source).as_posix() if source.is_dir() else path.name
            custom_id = name if name not in taken else path.as_posix().lstrip("/")
            if custom_id in taken:
                continue  # the same file, named twice
            taken.add(custom_id)
            yield Photo(path, custom_id)


def _files(source: Path, leave_out: Path | None) -> Iterator[Path]:
    if source.is_file():
        yield source
        return
    for folder, folders, files in os.walk(source):
        here = Path(folder)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (here / name).resolve() != leave_out
        )
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield here / name
