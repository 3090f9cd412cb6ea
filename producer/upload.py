"""A folder run: photos are looked at, uploaded and queued in small groups, so first results come early."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Engine

from clients.image_inspector import ImageInspector
from clients.images import BadImage, ImageInfo
from clients.phota_requests import Operation, Problem
from clients.s3_uri import S3Uri
from clients.storage import Storage
from models.inserts import BatchRef
from producer.jobs import CheckedJob, check
from producer.ownership import OPERATOR, Owner
from producer.photos import Address, Photo
from producer.submission import insert, insert_rejected
from settings import get_settings

MAX_BYTES = 64 * 2**20  # of a photo; phones write up to about 30 MB
_AT_ONCE = 8  # uploads
_GROUP = 32  # jobs of one transaction


@dataclass(frozen=True, slots=True)
class Refused:
    """A photo that cannot be worked on, and why. It becomes a `rejected` job, so it shows in every count."""

    photo: Photo
    problem: Problem


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is done to every photo of a run: the operation and its parameters beside the photo itself."""

    operation: Operation
    params: Mapping[str, Any]
    output: str | None = None
    job: Mapping[str, Any] | None = None  # further fields of every job

    def job_of(self, image: str, custom_id: str) -> dict[str, Any]:
        """A job in manifest form."""
        if self.operation is Operation.GENERATE:
            return self._job(self.params, custom_id)
        field = {Operation.EDIT: "images", Operation.REMIX: "input_image"}.get(self.operation, "image")
        params = {**self.params, field: [image] if field == "images" else image}
        return self._job(params, custom_id)

    def _job(self, params: Mapping[str, Any], custom_id: str) -> dict[str, Any]:
        return {
            **(self.job or {}),
            "operation": self.operation,
            "params": dict(params),
            "custom_id": custom_id,
            "output": self.output,
        }


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
    storage.put(uri.bucket, uri.key, prepared, content_type=info.content_type, sha256_hex=sha256)
    return StoredPhoto(uri, sha256, len(prepared), info)


class Uploader:
    """Puts the operator's photos into the bucket and makes jobs of them."""

    def __init__(self, storage: Storage, *, bucket: str, inspector: ImageInspector) -> None:
        self._storage = storage
        self._owner = Owner(OPERATOR, bucket)
        self._inspector = inspector

    def upload(self, photo: Photo | Address, recipe: Recipe) -> CheckedJob | Refused:
        """Look at one photo and upload it, upright; an address is taken as it is. Raise StorageError, OSError."""
        if isinstance(photo, Address):
            return check(recipe.job_of(photo.url, photo.custom_id), allowed_hosts=get_settings().allowed_hosts)
        try:
            data = self._read(photo)
            stored = store_photo(self._storage, self._inspector, self._owner, data)
        except BadImage as error:
            return Refused(photo, Problem("image", error.code, f"{photo.custom_id}: {error}"))
        except OSError as error:
            return Refused(photo, Problem("image", "unreadable", f"{photo.custom_id}: {error.strerror}"))
        source = {
            "path": str(photo.path),
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "width": stored.info.width,
            "height": stored.info.height,
        }
        return check(recipe.job_of(str(stored.uri), photo.custom_id), source=source)

    @staticmethod
    def _read(photo: Photo) -> bytes:
        size = photo.path.stat().st_size
        if size > MAX_BYTES:
            raise BadImage("file_too_large", f"has {size / 2**20:.0f} MB; at most {MAX_BYTES // 2**20} are taken")
        return photo.path.read_bytes()


def upload_and_queue(
    engine: Engine, uploader: Uploader, photos: Iterable[Photo | Address], recipe: Recipe, batch: BatchRef
) -> Iterator[int]:
    """Upload and queue; yields how many photos each transaction brought into the table."""
    remaining = iter(photos)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload") as pool:
        while group := list(islice(remaining, _GROUP)):
            results = list(pool.map(lambda photo: uploader.upload(photo, recipe), group))
            _queue(engine, results, recipe, batch)
            yield len(group)


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
                    custom_id=refused.photo.custom_id,
                    source={"path": str(refused.photo.path)},
                    batch=batch,
                )
