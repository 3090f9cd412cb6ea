"""Photos in: looked at, turned upright, and stored under their content."""

from functools import partial
from http import HTTPStatus
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request

from api.bodies import media_type
from api.keys import Submitter
from api.openapi import body, refusals
from api.problems import Problem
from api.schemas import Upload
from api.submissions import owner_in
from clients.images import MAX_BYTES, BadImage
from producer.ownership import Owner
from producer.runs.upload import StoredPhoto, store_photo

router = APIRouter(tags=["uploads"])

AT_ONCE = 4  # photos in memory, each of them up to thrice
_IN_MEMORY = 2**20  # bytes of a photo that is still coming in
_CODES = {
    413: {"too_large": f"A photo has at most {MAX_BYTES // 2**20} MB."},
    422: {"truncated_image": "The image is cut off or damaged at its very beginning."},
}


@router.post(
    "/v1/uploads",
    status_code=HTTPStatus.CREATED,
    response_model=Upload,
    responses=refusals(413, 415, 422, codes=_CODES),
    openapi_extra=body(binary="*/*"),
    summary="Put a photo where jobs can name it",
)
async def create_upload(
    request: Request,
    caller: Submitter,
    name: Annotated[str | None, Query(max_length=512, description="What errors call the photo.")] = None,
) -> dict[str, Any]:
    """The bytes of a JPEG, PNG, WebP or HEIC picture, whatever their media type says. It is turned upright; the same
    picture twice is stored once, so no `Idempotency-Key` is needed.
    """
    if media_type(request).startswith("multipart/"):
        detail = "Send the bytes of the photo as the body itself, not in a form: `curl --data-binary @photo.jpg`."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    with SpooledTemporaryFile(_IN_MEMORY, prefix="photabatch-") as file:
        await _receive(request, file)
        store = partial(_store, request, owner_in(request, caller), file)
        try:
            photo = await to_thread.run_sync(store, limiter=request.app.state.upload_slots)
        except BadImage as error:
            detail = f"{name}: {error}" if name else str(error)
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.code, detail) from None
    return {
        "image": str(photo.uri),
        "sha256": photo.sha256,
        "bytes": photo.bytes,
        "width": photo.info.width,
        "height": photo.info.height,
        "content_type": photo.info.content_type,
    }


async def _receive(request: Request, file: IO[bytes]) -> None:
    """Onto the disk: a slow client holds no memory. Raise Problem 413."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BYTES:
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", _CODES[413]["too_large"])
        file.write(chunk)


def _store(request: Request, owner: Owner, file: IO[bytes]) -> StoredPhoto:
    """In a slot: only so many photos are in memory at once."""
    file.seek(0)
    return store_photo(request.app.state.storage, request.app.state.inspector, owner, file.read())
