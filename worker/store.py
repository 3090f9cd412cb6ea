"""Stage `store`: results into the bucket, verified. The same job has the same keys and the same bytes."""

import asyncio
import hashlib

from clients.images import ImageInfo
from clients.output_keys import output_key
from clients.s3_uri import S3Uri
from clients.storage import ObjectExists, Storage
from models.claims import ClaimedJob, Move, StoredOutput
from worker import moves
from worker.failpoints import pass_point
from worker.kit import Kit

_MAX_OUTPUT = 128 * 2**20  # bytes; a 4K PNG of noise has about 40 MB


async def store(job: ClaimedJob, kit: Kit) -> Move:
    inline = kit.inline.pop(job.id, [])
    sources: list[str | bytes] = [*inline, *(job.result_urls or [])]
    if not sources:
        return moves.fail(
            job, code="needs_review", message="a worker ended with this synchronous call's result in its memory"
        )
    async with kit.storing:
        outputs = await asyncio.gather(*(_keep(job, index, source, kit) for index, source in enumerate(sources)))
    return moves.stored(job, tuple(outputs))


async def _keep(job: ClaimedJob, index: int, source: str | bytes, kit: Kit) -> StoredOutput:
    data = source if isinstance(source, bytes) else await kit.phota.download(source, max_bytes=_MAX_OUTPUT)
    pass_point("after_download", kit.failpoint)
    info = await kit.inspector.inspect(data)
    sha256 = hashlib.sha256(data).hexdigest()
    target = await asyncio.to_thread(_put, kit.storage, _targets(job, index, info), data, info, sha256)
    pass_point("after_upload", kit.failpoint)
    return StoredOutput(index, target.bucket, target.key, info.content_type, len(data), sha256, info.width, info.height)


def _targets(job: ClaimedJob, index: int, info: ImageInfo) -> list[S3Uri]:
    """Where it belongs, and where it goes if something else has that key: what is paid for is never given up."""
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
    return [S3Uri(template.bucket, key), S3Uri(template.bucket, f"jobs/{job.id}-{index}.{info.extension}")]


def _put(storage: Storage, targets: list[S3Uri], data: bytes, info: ImageInfo, sha256: str) -> S3Uri:
    """Raise StorageError; ObjectExists only when both places hold other bytes."""
    wanted, spare = targets
    try:
        storage.put(wanted.bucket, wanted.key, data, content_type=info.content_type, sha256_hex=sha256)
    except ObjectExists:
        storage.put(spare.bucket, spare.key, data, content_type=info.content_type, sha256_hex=sha256)
        return spare
    return wanted
