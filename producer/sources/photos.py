"""Which pictures a run is about: from folders, buckets, lists of names, or named one by one; as a stream."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

from clients.s3_objects import ObjectInfo
from clients.s3_uri import S3Uri
from clients.storage import BucketMissing, Storage
from producer.sources.folder_tree import photos_below
from producer.sources.name_list import named_pictures
from producer.sources.pictures import (
    LONGEST_ID,
    SUFFIXES,
    Address,
    NoSuchSource,
    Photo,
    Picture,
    StoredObject,
    first_free,
    fitting_id,
    is_picture,
)
from producer.sources.selection import EVERYTHING, Selection

__all__ = [
    "LONGEST_ID",
    "SUFFIXES",
    "Address",
    "NoSuchSource",
    "Photo",
    "Picture",
    "StoredObject",
    "find_pictures",
    "objects_below",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Tree:
    """A folder, or a part of a bucket. `find` takes what all its custom_ids begin with."""

    name: str
    find: Callable[[str], Iterator[Picture]]


@dataclass(frozen=True, slots=True)
class _Single:
    """`names`: the first that is free becomes the custom_id."""

    names: Sequence[str]
    make: Callable[[str], Picture]


_Source = _Tree | _Single | Address


def find_pictures(
    sources: Sequence[str],
    *,
    selection: Selection = EVERYTHING,
    leave_out: Path | None = None,
    files_from: Iterable[str] | None = None,
    storage: Storage | None = None,
) -> Iterator[Picture]:
    """Pictures below folders and `s3://` prefixes; files, objects and addresses that are named are taken as they are.

    `selection` looks at paths below a source, and at the names of single files and objects. Hidden files and
    `leave_out`, where results go, are passed over. A custom_id is the path below its source; where there is more than
    one, it begins with the source's own name (`trip`, `trip-2`). Without `storage`, an `s3://` address is an Address.
    `files_from`: lines that name pictures below the one source, or anywhere; see `named_pictures`.

    Raise NoSuchSource before the first picture, of a line when it is its turn; StorageError for what S3 refuses.
    """
    if files_from is not None:
        return named_pictures(files_from, root=_root(sources), selection=selection, storage=storage)
    named = {_identity(source): source for source in sources}
    opened = (_open(source, selection, leave_out, storage) for source in named.values())
    return _named_apart([source for source in opened if source is not None])


def _root(sources: Sequence[str]) -> Path | S3Uri | None:
    """What the names of a list stand below. Raise NoSuchSource."""
    if len(sources) > 1:
        raise NoSuchSource(f"a list of names stands below one folder, not {len(sources)}")
    if not sources:
        return None
    source = sources[0]
    if source.startswith("s3://"):
        uri = _parsed(source)
        return S3Uri(uri.bucket, f"{uri.key.rstrip('/')}/".lstrip("/"))
    _check(Path(source))
    if not Path(source).is_dir():
        raise NoSuchSource(f"{source}: is not a folder, so nothing can be named below it")
    return Path(source)


def _identity(source: str) -> str:
    """The same for a path that is named twice."""
    return source if "://" in source else str(Path(source).absolute())


def _open(source: str, selection: Selection, leave_out: Path | None, storage: Storage | None) -> _Source | None:
    """None for what `selection` leaves out."""
    if source.startswith("s3://") and storage is not None:
        return _open_s3(_parsed(source), selection, storage)
    if "://" in source:
        return Address(source)
    path = Path(source)
    _check(path)
    if path.is_dir():
        return _Tree(path.resolve().name or "root", partial(_photos, path, selection, leave_out))
    names = (path.name, path.as_posix().lstrip("/"))
    return _Single(names, partial(_photo, path)) if selection.takes(path.name) else None


def _check(path: Path) -> None:
    if not path.exists():
        raise NoSuchSource(f"{path}: no such file or folder")
    if not path.is_dir() and not path.is_file():
        raise NoSuchSource(f"{path}: neither a file nor a folder")
    if not os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK):
        raise NoSuchSource(f"{path}: not readable; check its permissions")


def _photo(path: Path, name: str) -> Photo:
    return Photo(path, fitting_id(name))


def _photos(root: Path, selection: Selection, leave_out: Path | None, label: str) -> Iterator[Picture]:
    for path in photos_below(root, selection=selection, leave_out=leave_out):
        yield Photo(root / path, fitting_id(label + path))


def _parsed(source: str) -> S3Uri:
    try:
        return S3Uri.parse(source)
    except ValueError as error:
        raise NoSuchSource(f"{source}: {error}") from None


def objects_below(source: str, *, selection: Selection, storage: Storage) -> Iterator[Picture]:
    """As `find_pictures`, of all whose key begins so, though one may have this very key. Raise as it does."""
    return _tree(_parsed(source), selection, storage).find("")


def _open_s3(uri: S3Uri, selection: Selection, storage: Storage) -> _Source | None:
    """The object that has this very key, else everything whose key begins with it."""
    name = uri.key.rpartition("/")[2]
    info = storage.head(uri.bucket, uri.key) if name else None
    if info is not None:
        names = (name, uri.key, f"{uri.bucket}/{uri.key}")
        return _Single(names, partial(StoredObject.of, info)) if selection.takes(name) else None
    return _tree(uri, selection, storage)


def _tree(uri: S3Uri, selection: Selection, storage: Storage) -> _Tree:
    folder, slash, _ = uri.key.rpartition("/")
    objects = storage.list(uri.bucket, uri.key)
    try:
        first = list(islice(objects, 1))
    except BucketMissing:
        raise NoSuchSource(f"{uri}: no such bucket") from None
    label = folder.rpartition("/")[2] or uri.bucket
    return _Tree(label, partial(_objects, chain(first, objects), folder + slash, selection))


def _objects(objects: Iterable[ObjectInfo], above: str, selection: Selection, label: str) -> Iterator[Picture]:
    """Keys that end in a slash stand for folders, and have no picture's suffix; one with a NUL fits in no table."""
    for info in objects:
        path = info.key.removeprefix(above)
        if "\0" in path:
            log.warning("object passed over, its key has a NUL: %r", info.key)
            continue
        if is_picture(path) and selection.takes(path):
            yield StoredObject.of(info, fitting_id(label + path))


def _named_apart(opened: Sequence[_Source]) -> Iterator[Picture]:
    """Trees are told apart by a label, so that nobody has to remember a million names."""
    labels = _labels(opened)
    remaining = iter(labels)
    taken: set[str] = set()
    for source in opened:
        if isinstance(source, Address):
            yield source
        elif isinstance(source, _Tree):
            yield from source.find(next(remaining))
        else:
            names = [name for name in source.names if f"{name.partition('/')[0]}/" not in labels or "/" not in name]
            name = first_free(names, taken)
            taken.add(name)
            yield source.make(name)


def _labels(opened: Sequence[_Source]) -> list[str]:
    """One for each tree, ending in a slash; that of a tree which is alone is empty."""
    trees = [source for source in opened if isinstance(source, _Tree)]
    if len(trees) == 1 and not any(isinstance(source, _Single) for source in opened):
        return [""]
    labels: dict[str, str] = {}
    for tree in trees:
        name = first_free([tree.name], labels)
        labels[name] = f"{name}/"
    return list(labels.values())
