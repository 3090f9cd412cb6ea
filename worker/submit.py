"""Stage `submit`: hand the job to Phota. At most one charge: the `client_request_id` is older than the first call."""

import asyncio
import base64
from contextlib import nullcontext
from decimal import Decimal
from urllib.parse import urlsplit

from clients.addresses import AllowedHosts
from clients.failpoints import pass_point
from clients.images import BadImage
from clients.phota import Results
from clients.phota_prices import settled
from clients.phota_requests import Params, images_of, validate, with_images
from clients.remote_images import fetch_image
from clients.s3_uri import S3Uri
from clients.storage import Storage, StorageUnavailable
from models.claims import REQUEST_ID_AGE_S, ClaimedJob, Move
from worker import moves
from worker.kit import Kit
from worker.retry import next_poll_s

_LINK_S = 3600  # Phota fetches an input within its own limit of minutes
_CLOCK_OFF_S = 300.0  # Amazon refuses what is signed a quarter of an hour from now
_MAX_INPUT = 64 * 2**20  # bytes, inlined as base64


async def submit(job: ClaimedJob, kit: Kit) -> Move:
    params = validate(job.operation, job.params, allowed_hosts=kit.allowed_hosts)
    if job.request_age_s > REQUEST_ID_AGE_S:
        message = "first sent over 24 h ago; sending again could charge twice"
        return moves.fail(job, code="needs_review", message=message, may_be_charged=True)
    if kit.is_sync and not job.is_first_request:
        message = "a worker ended during a synchronous call; it may have been charged"
        return moves.fail(job, code="needs_review", message=message, may_be_charged=True)
    if kit.sightings.closed_for_s:
        return moves.snooze(job, kit.sightings.closed_for_s, code=kit.sightings.upstream.closed_reason)
    async with kit.inlining if _is_inlined(params, kit) else nullcontext():
        params = await _reachable(job, params, kit)
        pass_point("before_submit", kit.failpoint)
        move = await (_call(job, params, kit) if kit.is_sync else _hand_over(job, params, kit))
    pass_point("after_submit", kit.failpoint)
    kit.sightings.ok()
    return move


def _is_inlined(params: Params, kit: Kit) -> bool:
    return any(_is_ours_to_read(image, kit) for image in images_of(params))


def _is_ours_to_read(image: str, kit: Kit) -> bool:
    """Whether Phota's servers cannot fetch it: in an S3, or on a host that the operator named, in our own network."""
    if image.startswith("s3://"):
        return not kit.sends_links
    return kit.images is not None and AllowedHosts(kit.allowed_hosts).names(urlsplit(image).hostname or "")


async def _hand_over(job: ClaimedJob, params: Params, kit: Kit) -> Move:
    handle = await kit.phota.submit(params, client_request_id=job.client_request_id, callback_url=kit.callback_url)
    return moves.submitted(job, handle, look_in_s=look_in_s(job.operation, kit, age_s=0.0))


def look_in_s(operation: str, kit: Kit, *, age_s: float) -> float:
    """Seconds until Phota is asked for a job that it has had for `age_s`."""
    likely_at_s = kit.sightings.likely_at_s(operation)
    return next_poll_s(age_s, likely_at_s=likely_at_s, random_source=kit.random_source)


async def _call(job: ClaimedJob, params: Params, kit: Kit) -> Move:
    results = await kit.phota.call(params, client_request_id=job.client_request_id)
    return ready(job, results, kit, cost_usd=settled(params, results.known_subjects))


def ready(job: ClaimedJob, results: Results, kit: Kit, *, cost_usd: Decimal) -> Move:
    """Results, with what they cost; bytes stay in memory for the next stage."""
    if results.images:
        kit.inline[job.id] = results.images
    return moves.ready(job, results, cost_usd=cost_usd)


async def _reachable(job: ClaimedJob, params: Params, kit: Kit) -> Params:
    """Images as links where Phota's servers can reach them (presigned for `s3://`), else as base64."""
    return with_images(params, list(await asyncio.gather(*(_reference(job, each, kit) for each in images_of(params)))))


async def _reference(job: ClaimedJob, image: str, kit: Kit) -> str:
    if _is_ours_to_read(image, kit):
        return await asyncio.to_thread(_base64, await _bytes_of(job, image, kit))
    if not image.startswith("s3://"):
        return image
    if abs(kit.sightings.clock_off_s) > _CLOCK_OFF_S:
        raise StorageUnavailable(
            f"the clock of this worker's host is {kit.sightings.clock_off_s:+.0f} s off: what it signs is not valid"
        )
    return await asyncio.to_thread(_link, kit.storage, S3Uri.parse(image), job.version_of(image), job.etag_of(image))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _link(storage: Storage, uri: S3Uri, version_id: str | None, etag: str | None) -> str:
    """Phota sends no `If-Match` with a link, so the object is asked for before.

    Overwritten between that and Phota's fetch, it is done as it is then; a version, where an event told one, is not.
    """
    if etag is not None:
        storage.check_unchanged(uri.bucket, uri.key, etag=etag)
    return storage.presign(uri.bucket, uri.key, expires_s=_LINK_S, version_id=version_id)


async def _bytes_of(job: ClaimedJob, image: str, kit: Kit) -> bytes:
    if kit.images is not None and not image.startswith("s3://"):
        return await fetch_image(kit.images, image, max_bytes=_MAX_INPUT)
    uri = S3Uri.parse(image)
    known = {"version_id": job.version_of(image), "etag": job.etag_of(image)}
    data = await asyncio.to_thread(kit.storage.get, uri.bucket, uri.key, max_bytes=_MAX_INPUT, **known)
    if not data:
        raise BadImage("empty_file", f"{image} has no bytes")
    return data
