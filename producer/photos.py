"""Which pictures a run is about: files, or addresses that Phota fetches itself."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from clients.output_keys import clean_path

LONGEST_ID = 512  # characters, docs/contract.md
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif"})  # what Phota takes


class NoSuchSource(ValueError):  # noqa: N818
    """A path that does not exist, or cannot be read."""


@dataclass(frozen=True, slots=True)
class Address:
    """A picture that is out there already: https:// or s3://bucket/key."""

    url: str

    @property
    def custom_id(self) -> str:
        return _fitting(self.url)


@dataclass(frozen=True, slots=True)
class Photo:
    """A file and what it is called in its batch: its path below the folder that was named."""

    path: Path
    custom_id: str


def find_pictures(sources: Sequence[str], *, leave_out: Path | None = None) -> Iterator[Photo | Address]:
    """Photos below folders, in order of their names; files and addresses that are named are taken as they are.

    Hidden files and `leave_out`, where results go, are passed over. Raise NoSuchSource before the first photo.
    """
    paths = [Path(source) for source in sources if "://" not in source]
    _check(paths)
    addresses = (Address(source) for source in sources if "://" in source)
    return _distinct(chain(_photos(paths, leave_out.resolve() if leave_out else None), addresses))


def _check(paths: Sequence[Path]) -> None:
    for source in paths:
        if not source.exists():
            raise NoSuchSource(f"{source}: no such file or folder")
        if not os.access(source, os.R_OK):
            raise NoSuchSource(f"{source}: not readable; check its permissions")


def _distinct(pictures: Iterable[Photo | Address]) -> Iterator[Photo | Address]:
    """Names are unique in a batch: a second one of the same name gets its folder in front."""
    taken: set[str] = set()
    for picture in pictures:
        if picture.custom_id in taken and isinstance(picture, Photo):
            picture = Photo(picture.path, _fitting(picture.path.as_posix()))
        if picture.custom_id not in taken:  # else it is the same one, named twice
            taken.add(picture.custom_id)
            yield picture


def _photos(sources: Sequence[Path], leave_out: Path | None) -> Iterator[Photo]:
    for source in sources:
        for path in _files(source, leave_out):
            yield Photo(path, _fitting(path.relative_to(source).as_posix() if source.is_dir() else path.name))


def _fitting(name: str) -> str:
    """As a custom_id: without control characters, and with a hash for its end where it is too long."""
    clean = name if "://" in name else clean_path(name)
    if len(clean) <= LONGEST_ID:
        return clean
    return clean[: LONGEST_ID - 32] + hashlib.sha256(clean.encode()).hexdigest()[:32]


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
