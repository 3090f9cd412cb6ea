"""Results as lines, while the batch runs and after."""

import uuid
from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from sqlalchemy import Engine

from api.openapi import lines, refusals
from api.owned import ReadableBatch
from api.schemas import ResultLine
from clients.output_links import add_links
from clients.storage import Storage
from models.results import JobResult, finished_page

router = APIRouter(tags=["batches"])

_MEDIA_TYPE = "application/x-ndjson"
_ANSWER = {"description": "A line a finished job.", "content": {_MEDIA_TYPE: lines(ResultLine)}}


@router.get(
    "/v1/batches/{batch_id}/results",
    response_class=StreamingResponse,
    responses={**refusals(404), 200: _ANSWER},
    summary="Results of a batch as JSONL",
)
def get_results(request: Request, batch_id: ReadableBatch) -> StreamingResponse:
    """Of every job that has finished so far: `response`, each output with a `url` for 24 hours, or `error`."""
    state = request.app.state
    return StreamingResponse(_pages(state.engine, state.storage, batch_id), media_type=_MEDIA_TYPE)


def _pages(engine: Engine, storage: Storage, batch_id: uuid.UUID) -> Iterator[bytes]:
    """A connection is held for a page, not while the client reads it."""
    after = uuid.UUID(int=0)
    while True:
        with engine.connect() as connection:
            page = finished_page(connection, batch_id, after=after)
        if not page:
            return
        yield b"".join(_line(storage, job) for job in page)
        after = page[-1].id


def _line(storage: Storage, job: JobResult) -> bytes:
    line = job.as_json()
    if "response" in line:
        add_links(storage, line["response"]["outputs"])
    return to_json(line) + b"\n"
