"""A run: pictures are uploaded and queued in small groups, so first results come early."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Engine

from clients.failpoints import pass_point
from clients.image_inspector import ImageInspector
from clients.images import BadImage, ImageInfo, check_bytes
from clients.phota_requests import Problem
from clients.s3_objects import INPUT_MARK
from clients.s3_uri import S3Uri
from clients.storage import Storage
from models import new_id
from models.contents import insert_skipped, known_in_batch
from models.inserts import BatchRef
from producer.content import identity_of_bytes, with_content
from producer.jobs import CheckedJob, check
from producer.ownership import OPERATOR, Owner
from producer.recipes import Recipe, object_job
from producer.runs.lineup import Entry
from producer.runs.preflight import Kind
from producer.sources.photos import Address, Photo, Picture, StoredObject
from producer.submission import check_open, insert, insert_rejected
from settings import get_settings

_AT_ONCE = 8  # uploads
_GROUP = 32  # jobs of one transaction


@dataclass(frozen=True, slots=True)
class Refused:
    """A picture that cannot be worked on, and why. It becomes a `rejected` job, so it shows in every count.

    `content`: as the look before told it, so that the same run knows it again.
    """

    picture: Picture
    problem: Problem
    content: str | None = None


@dataclass(frozen=True, slots=True)
class StoredPhoto:
    """A photo as it lies in the bucket, upright; `bytes` and `sha256` are its own, not those of what came in."""

    uri: S3Uri
    sha256: str
    bytes: int
    info: ImageInfo


def store_photo(storage: Storage, inspector: ImageInspector, owner: Owner, data: bytes) -> StoredPhoto:
    """Look at a photo and put it among its owner's inputs, named by its content: the same one is stored once.

    Raise BadImage, StorageError.
    """
    info, prepared = inspector.prepare_sync(data)
    sha256 = hashlib.sha256(prepared).hexdigest()
    uri = S3Uri(owner.bucket, owner.input_key(sha256, info.extension))
    mark = {INPUT_MARK: sha256}  # no trigger takes it for an upload
    storage.put(uri.bucket, uri.key, prepared, content_type=info.content_type, sha256_hex=sha256, metadata=mark)
    pass_point("after_photo_put", get_settings().failpoint)
    return StoredPhoto(uri, sha256, len(prepared), info)


class Uploader:
    """Puts the operator's photos into the bucket and makes jobs of them."""

    def __init__(self, storage: Storage, *, bucket: str, inspector: ImageInspector) -> None:
        self._storage = storage
        self._owner = Owner(OPERATOR, bucket)
        self._inspector = inspector

    def upload(self, picture: Picture, recipe: Recipe, *, is_redo: bool = False) -> CheckedJob | Refused:
        """A file is looked at and uploaded, upright; an object or an address is taken as it is. Raise StorageError."""
        allowed = get_settings().allowed_hosts
        if isinstance(picture, Address):
            job = check(recipe.job_of(picture.url, picture.custom_id), allowed_hosts=allowed)
            return with_content(job, recipe.identities(picture.url), is_redo=is_redo)
        if isinstance(picture, StoredObject):
            return object_job(
                recipe,
                picture.uri,
                etag=picture.etag,
                size=picture.bytes,
                custom_id=picture.custom_id,
                owner=self._owner,
                allowed_hosts=allowed,
                is_redo=is_redo,
            )
        try:
            return self._upload(picture, recipe, is_redo=is_redo)
        except BadImage as error:
            return Refused(picture, Problem("image", error.code, f"{picture.custom_id}: {error}"))
        except OSError as error:
            return Refused(picture, Problem("image", "unreadable", f"{picture.custom_id}: {error.strerror}"))

    def _upload(self, photo: Photo, recipe: Recipe, *, is_redo: bool) -> CheckedJob:
        """Raise BadImage, OSError, StorageError."""
        check_bytes(photo.path.stat().st_size)
        data = photo.path.read_bytes()
        stored = store_photo(self._storage, self._inspector, self._owner, data)
        sha256 = hashlib.sha256(data).hexdigest()
        size = {"width": stored.info.width, "height": stored.info.height}
        source = {"path": _place(photo), "bytes": len(data), "sha256": sha256, **size}
        job = check(recipe.job_of(str(stored.uri), photo.custom_id), source=source)
        return with_content(job, recipe.identities(identity_of_bytes(sha256)), is_redo=is_redo)


def queue_entries(
    engine: Engine,
    uploader: Uploader,
    entries: Iterable[Entry],
    recipe: Recipe,
    batch: BatchRef,
    *,
    is_redo: bool = False,
) -> Iterator[int]:
    """Upload and queue what the batch does not have yet; yields how many entries each group dealt with.

    What was done before is not uploaded, only linked. Raise StorageError, BatchClosed.
    """
    remaining = iter(entries)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload") as pool:
        while group := list(islice(remaining, _GROUP)):
            left = _link(engine, _unknown(engine, group, batch), batch, is_redo=is_redo)
            results = list(pool.map(lambda entry: _result(uploader, entry, recipe, is_redo=is_redo), left))
            _queue(engine, results, recipe, batch)
            pass_point("after_group", get_settings().failpoint)
            yield len(group)


def _unknown(engine: Engine, group: Sequence[Entry], batch: BatchRef) -> list[Entry]:
    """Without those that the batch has; a file that has changed since then goes by another name."""
    with engine.connect() as connection:
        known = known_in_batch(connection, batch.id, [entry.picture.custom_id for entry in group])
    return [
        _renamed(entry) if entry.picture.custom_id in known else entry
        for entry in group
        if entry.picture.custom_id not in known or entry.content not in (None, known[entry.picture.custom_id])
    ]


def _renamed(entry: Entry) -> Entry:
    path = PurePosixPath(entry.picture.custom_id)
    name = f"{path.with_suffix('')}~{str(entry.content)[:8]}{path.suffix}"
    if isinstance(entry.picture, Address):
        return entry
    return replace(entry, picture=replace(entry.picture, custom_id=name))


def _link(engine: Engine, entries: Sequence[Entry], batch: BatchRef, *, is_redo: bool) -> list[Entry]:
    """Those that are left when all that was done before is `skipped`. Raise BatchClosed."""
    rows = [_skipped(entry) for entry in entries if entry.kind is Kind.DONE_BEFORE and not is_redo]
    if not rows:
        return list(entries)
    with engine.begin() as connection:
        check_open(connection, batch)
        linked = insert_skipped(connection, batch, rows)
    return [entry for entry in entries if entry.picture.custom_id not in linked]


def _skipped(entry: Entry) -> dict[str, Any]:
    source = {"path": _place(entry.picture)}
    row = {"id": str(new_id()), "custom_id": entry.picture.custom_id, "source": source}
    return row | {"content_key": entry.content}


def _result(uploader: Uploader, entry: Entry, recipe: Recipe, *, is_redo: bool) -> CheckedJob | Refused:
    if entry.problem is not None:
        return Refused(entry.picture, entry.problem)
    result = uploader.upload(entry.picture, recipe, is_redo=is_redo)
    return replace(result, content=entry.content) if isinstance(result, Refused) else result


def _queue(engine: Engine, results: Sequence[CheckedJob | Refused], recipe: Recipe, batch: BatchRef) -> None:
    with engine.begin() as connection:
        insert(connection, [job for job in results if isinstance(job, CheckedJob)], batch=batch)
        for refused in results:
            if isinstance(refused, Refused):
                insert_rejected(
                    connection,
                    operation=recipe.operation,
                    params=recipe.params,
                    problem=refused.problem,
                    custom_id=refused.picture.custom_id,
                    source={"path": _place(refused.picture)},
                    content_key=refused.content,
                    batch=batch,
                )


def _place(picture: Picture) -> str:
    """Where it lies, for people: what of a file's name is not UTF-8 shows as `?`."""
    if isinstance(picture, Photo):
        return str(picture.path).encode(errors="replace").decode()
    return str(picture.uri) if isinstance(picture, StoredObject) else picture.url
