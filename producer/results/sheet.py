"""The before/after contact sheet of a batch: one HTML file that needs nothing beside itself."""

import hashlib
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import IO, Any

from clients.images import MAX_BYTES
from clients.s3_uri import S3Uri
from clients.storage import BucketMissing, ObjectMissing, ObjectTooLarge, Storage, StorageError
from models.progress import BatchView
from models.results import JobResult
from producer.results.sheet_page import Shot, cut_notice, empty_notice, page_around_rows, row
from producer.results.thumbnail import make_thumbnail

DEFAULT_LIMIT = 500  # jobs: about 70 MB of page, which a browser still scrolls well
_AT_ONCE = 4  # jobs whose pictures are in memory


def write_sheet(
    path: Path,
    *,
    batch: BatchView,
    jobs: Iterable[JobResult],
    storage: Storage,
    is_simulated: bool,
    limit: int = DEFAULT_LIMIT,
) -> None:
    """Write the first `limit` of `jobs`; the file appears when it is whole. Raise StorageError, OSError.

    `is_simulated`: no Phota did this, and nothing was charged.
    """
    partial = path.with_name(f".photabatch-{uuid.uuid4().hex}")
    try:
        with partial.open("x", encoding="utf-8", errors="replace") as file:
            head, foot = page_around_rows(batch, limit=limit, is_simulated=is_simulated)
            file.write(head)
            _write(file, batch, iter(jobs), storage, limit)
            file.write(foot)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write(file: IO[str], batch: BatchView, jobs: Iterator[JobResult], storage: Storage, limit: int) -> None:
    is_empty = True
    for each in _rows(islice(jobs, limit), storage):
        file.write(each)
        is_empty = False
    if is_empty:
        file.write(empty_notice())
    elif next(jobs, None) is not None:
        file.write(cut_notice(batch, limit=limit))


def _rows(jobs: Iterator[JobResult], storage: Storage) -> Iterator[str]:
    """In the order of `jobs`, a few made ahead, so that neither the network nor the decoder waits for the other."""
    pending: deque[Future[str]] = deque()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sheet") as pool:
        for number, job in enumerate(jobs, start=1):
            pending.append(pool.submit(_row, job, number, storage))
            if len(pending) > _AT_ONCE:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _row(job: JobResult, number: int, storage: Storage) -> str:
    after = [_after(output, storage, label=_label(job, output)) for output in job.outputs]
    return row(job, number, before=_before(job.source, storage), after=after)


def _label(job: JobResult, output: dict[str, Any]) -> str:
    word = "After" if job.source else "Result"
    return f"{word} {output['index'] + 1}" if len(job.outputs) > 1 else word


def _before(source: dict[str, Any] | None, storage: Storage) -> Shot | None:
    """The original, if it is still where it was and still the same; other bytes would be no before."""
    if source is None:
        return None
    if source["path"].startswith("s3://"):
        return _object_before(source, storage)
    path = Path(source["path"])
    try:
        if not path.is_file():
            return None
        if "sha256" not in source:  # refused on upload, perhaps because it crashes decoders
            return Shot("Before", None, 0, 0, note="This file cannot be shown.")
        data = path.read_bytes() if path.stat().st_size == source["bytes"] else b""
    except OSError:
        return None
    return _shot("Before", data, source) if hashlib.sha256(data).hexdigest() == source["sha256"] else None


def _object_before(source: dict[str, Any], storage: Storage) -> Shot | None:
    try:
        uri, version_id = S3Uri.parse(source["path"]), source.get("version_id")
        found = storage.head(uri.bucket, uri.key, version_id=version_id)
        if found is None or found.etag.strip('"').lower() != source.get("etag", "").lower():
            return None
        data = storage.get(uri.bucket, uri.key, max_bytes=MAX_BYTES, version_id=version_id)
    except (StorageError, ValueError):
        return None
    return _shot("Before", data, source)


def _after(output: dict[str, Any], storage: Storage, *, label: str) -> Shot:
    try:
        data = storage.get(output["bucket"], output["key"], max_bytes=output["bytes"])
    except (ObjectMissing, BucketMissing, ObjectTooLarge):
        data = b""
    if hashlib.sha256(data).hexdigest() != output["sha256"]:
        note = "The bucket holds other bytes by now." if data else "No longer in the bucket."
        return Shot(label, None, output["width"], output["height"], output["bytes"], note)
    return _shot(label, data, output)


def _shot(label: str, data: bytes, facts: dict[str, Any]) -> Shot:
    """`facts`: `width` and `height` in pixels, for a picture that cannot be asked itself."""
    thumbnail = make_thumbnail(data)
    if thumbnail is None:
        return Shot(
            label, None, facts.get("width", 0), facts.get("height", 0), len(data), "This picture cannot be decoded."
        )
    return Shot(label, thumbnail.data_uri, thumbnail.width, thumbnail.height, len(data))
