"""Stage `store`: results into the bucket, verified. The same job has the same keys and the same bytes."""

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from functools import partial

from clients.apart import apart
from clients.failpoints import pass_point
from clients.images import ImageInfo
from clients.output_keys import output_key
from clients.s3_objects import JOB_MARK
from clients.s3_uri import S3Uri
from clients.storage import AccessDenied, BucketMissing, ObjectExists, Storage, StorageUnavailable
from models.claims import ClaimedJob, Move, StoredOutput
from worker import moves
from worker.kit import Kit

_ONLY_COPY_S = 5.0  # between two tries
_MAX_OUTPUT = 128 * 2**20  # bytes; a 4K PNG of noise has about 40 MB


async def store(job: ClaimedJob, kit: Kit) -> Move:
    sources: list[str | bytes] = [*(kit.inline.get(job.id) or job.result_urls or [])]
    if not sources:
        message = "a worker ended with this synchronous call's result in its memory"
        return moves.fail(job, code="needs_review", message=message, may_be_charged=True)
    async with kit.storing:
        outputs = await asyncio.gather(*(_keep(job, index, source, kit) for index, source in enumerate(sources)))
    return moves.stored(job, tuple(outputs))


async def _keep(job: ClaimedJob, index: int, source: str | bytes, kit: Kit) -> StoredOutput:
    data = source if isinstance(source, bytes) else await kit.phota.download(source, max_bytes=_MAX_OUTPUT)
    pass_point("after_download", kit.failpoint)
    info = await kit.inspector.inspect(data)
    sha256 = (await apart(len(data), hashlib.sha256, data)).hexdigest()
    targets = _targets(job, index, info, sha256, kit.spare_bucket)
    put = partial(_put, kit.storage, targets, data, info, sha256, job.id)
    target = await _put_in_time(put, is_only_copy=isinstance(source, bytes))
    pass_point("after_upload", kit.failpoint)
    return StoredOutput(index, target.bucket, target.key, info.content_type, len(data), sha256, info.width, info.height)


def _targets(job: ClaimedJob, index: int, info: ImageInfo, sha256: str, spare_bucket: str) -> list[S3Uri]:
    """Where it belongs, and where it goes if something else has that key or nothing may be put there.

    The last one is taken by no other bytes, whatever Phota answers another worker of the same job with.
    """
    template = S3Uri.parse(job.output)
    key = output_key(
        template.key,
        batch=job.batch_slug or "jobs",
        custom_id=job.custom_id or str(job.id),
        job_id=str(job.id),
        index=index,
        ext=info.extension,
        operation=job.operation,
    )
    spare, extension = f"jobs/{job.id}-{index}", info.extension
    spares = [S3Uri(spare_bucket, f"{spare}.{extension}"), S3Uri(spare_bucket, f"{spare}-{sha256[:16]}.{extension}")]
    return [S3Uri(template.bucket, key), *spares]


async def _put_in_time(put: Callable[[], S3Uri], *, is_only_copy: bool) -> S3Uri:
    """What exists nowhere else stays in memory until S3 takes it, the rest can be fetched again. Raise StorageError."""
    while True:
        try:
            return await asyncio.to_thread(put)
        except StorageUnavailable:
            if not is_only_copy:
                raise
            await asyncio.sleep(_ONLY_COPY_S)


def _put(storage: Storage, targets: list[S3Uri], data: bytes, info: ImageInfo, sha256: str, job_id: uuid.UUID) -> S3Uri:
    """Marked, so that no trigger takes it for an upload. Raise StorageError if no place takes it."""
    *places, last = targets
    put = partial(
        storage.put, data=data, content_type=info.content_type, sha256_hex=sha256, metadata={JOB_MARK: str(job_id)}
    )
    for place in places:
        try:
            put(place.bucket, place.key)
        except (ObjectExists, BucketMissing, AccessDenied):
            continue
        return place
    put(last.bucket, last.key)
    return last
