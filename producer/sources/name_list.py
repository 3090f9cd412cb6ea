"""Pictures named line by line, as `--files-from` gives them; a stream, however many."""

import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from clients.s3_uri import S3Uri
from clients.storage import Storage
from producer.sources.pictures import Address, NoSuchSource, Photo, Picture, StoredObject, fitting_id
from producer.sources.selection import Selection

_AT_ONCE = 16  # objects that are asked for; one by one a million would take a night
_GROUP = 256  # lines


class _Line(NamedTuple):
    number: int  # from 1
    text: str


def named_pictures(
    lines: Iterable[str], *, root: Path | S3Uri | None, selection: Selection, storage: Storage | None
) -> Iterator[Picture]:
    """The picture of every line: a path below `root` (without one: as it is), or an `s3://` or `https://` address.

    As in rclone, space around a name is no part of it, a leading `/` means `root`, and blank lines and those that begin
    with `#` or `;` are passed over. A custom_id is the line itself; a line that comes twice comes out twice. With
    `storage`, objects are asked for; without it they are addresses. `selection` looks at paths and keys.

    Raise NoSuchSource, when it is its turn, for the line that names nothing, with its number; StorageError.
    """
    names = _Names(root, storage)
    wanted = (line for line in _meant(lines) if selection.takes(names.path(line.text)))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="head") as pool:
        while group := list(islice(wanted, _GROUP)):
            is_slow = storage is not None and any(names.is_object(line.text) for line in group)
            yield from pool.map(names.picture, group) if is_slow else map(names.picture, group)


def _meant(lines: Iterable[str]) -> Iterator[_Line]:
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix("\ufeff").strip() if number == 1 else line.strip()
        if text and not text.startswith(("#", ";")):
            yield _Line(number, text)


@dataclass(frozen=True, slots=True)
class _Names:
    """What a line means. `root`: the key of an S3Uri ends in a slash, or is empty."""

    root: Path | S3Uri | None
    storage: Storage | None

    def is_object(self, text: str) -> bool:
        return text.startswith("s3://") or (isinstance(self.root, S3Uri) and "://" not in text)

    def path(self, text: str) -> str:
        """What a selection looks at: a path, or the key of an object."""
        if text.startswith("s3://"):
            return text.removeprefix("s3://").partition("/")[2]
        return text if "://" in text else text.lstrip("/")

    def picture(self, line: _Line) -> Picture:
        if self.is_object(line.text):
            return self._object(line)
        return Address(line.text) if "://" in line.text else self._photo(line)

    def _photo(self, line: _Line) -> Photo:
        path = Path(line.text) if self.root is None else Path(str(self.root), line.text.lstrip("/"))
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise NoSuchSource(f"line {line.number}: {path}: {reason}") from None
        if not stat.S_ISREG(mode):
            raise NoSuchSource(f"line {line.number}: {path}: is no file")
        return Photo(path, fitting_id(PurePosixPath(line.text).as_posix().lstrip("/")))

    def _object(self, line: _Line) -> Picture:
        try:
            uri = self._uri(line.text)
        except ValueError as error:
            raise NoSuchSource(f"line {line.number}: {line.text}: {error}") from None
        if self.storage is None:
            return Address(str(uri))
        info = self.storage.head(uri.bucket, uri.key)
        if info is None:
            raise NoSuchSource(f"line {line.number}: {uri}: no such object")
        return StoredObject.of(info, fitting_id(line.text.lstrip("/")))

    def _uri(self, text: str) -> S3Uri:
        if isinstance(self.root, S3Uri) and "://" not in text:
            return S3Uri.parse(f"{self.root}{text.lstrip('/')}")
        uri = S3Uri.parse(text)
        if not uri.key:
            raise ValueError("names a bucket but no key")
        return uri
