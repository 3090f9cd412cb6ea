"""Batches: queued in JSON or JSONL, listed, looked at, and followed while they run."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.keys import Caller, Reader, Submitter
from api.once import IdempotencyKey, asked, once
from api.openapi import body, events, refusals
from api.owned import BatchId, ReadableBatch, parse_id
from api.paging import After, Limit, page
from api.problems import not_found
from api.requests import BatchBody, BatchOptions, JobBody, LineOptions
from api.schemas import Batch, BatchList, BatchSubmitted
from api.submissions import (
    FULL,
    INVALID,
    InvalidSubmission,
    Submission,
    owner_in,
    queue_full,
    read_submission,
    refusal,
    shown_faults,
)
from models import Priority
from models.inserts import BatchRef
from models.progress import BatchView, list_batches, read_own_batch
from models.states import BatchStatus
from producer.batches import close_batch, open_batch
from producer.manifests.bulk import Queued, queue_spooled
from producer.ownership import Owner, QueueFull, Room

router = APIRouter(tags=["batches"])

_LOOK_S = 1.0


@router.post(
    "/v1/batches",
    status_code=HTTPStatus.ACCEPTED,
    response_model=BatchSubmitted,
    responses=refusals(400, 409, 413, 415, 422, codes=INVALID | FULL),
    openapi_extra=body(json=BatchBody, jsonl=JobBody),
    summary="Queue many jobs",
)
async def create_batch(
    request: Request, caller: Submitter, options: Annotated[LineOptions, Query()], key: IdempotencyKey = None
) -> Response:
    """All jobs or none, unless `skip_invalid`. JSONL is a job a line (up to 64 KB), and its options are query
    parameters; a line may also be `{"custom_id", "method": "POST", "url": "/v1/phota/edit", "body"}`. In JSON the
    options stand beside `jobs`.
    """
    submission = await read_submission(request, caller, options)
    with ExitStack() as stack:
        stack.callback(submission.spool.close)
        try:
            submit = partial(_submit, request, caller, key, submission)
            return await to_thread.run_sync(submit, limiter=request.app.state.bulk_slots)
        except InvalidSubmission:
            return refusal(request, submission.spool, stack.pop_all())
        except QueueFull as error:
            raise queue_full(error) from None


def _submit(request: Request, caller: Caller, key: str | None, submission: Submission) -> Response:
    owner = owner_in(request, caller)
    question = asked(request, caller, key, submission.sha256)

    def work(connection: Connection) -> dict[str, Any]:
        return _queue(connection, owner, submission)

    return once(request.app.state.engine, question, work, status=HTTPStatus.ACCEPTED)


def _queue(connection: Connection, owner: Owner, submission: Submission) -> dict[str, Any]:
    """Also where some jobs are invalid already: a custom_id twice is found as jobs go in, and all is rolled back."""
    spool, options = submission.spool, submission.options
    room = Room(connection, owner.account)
    batch = _open(connection, owner, options, submission.metadata)
    try:
        queued = queue_spooled(connection, spool, batch, owner, room)
    except QueueFull:
        if spool.refused and not options.skip_invalid:
            raise InvalidSubmission from None
        raise
    if spool.refused and (not options.skip_invalid or queued == Queued(0, 0)):
        raise InvalidSubmission
    close_batch(connection, batch)
    answer = _told(connection, batch) | {
        "accepted": queued.accepted,
        "existing": queued.existing,
        "invalid": spool.refused,
        "status_url": f"/v1/batches/{batch.id}",
    }
    if options.skip_invalid:
        answer["errors"] = shown_faults(spool)
    return answer


def _open(connection: Connection, owner: Owner, options: BatchOptions, metadata: dict[str, str]) -> BatchRef:
    return open_batch(
        connection,
        options.name or f"batch-{datetime.now(UTC):%Y%m%d-%H%M%S}",
        account_id=owner.account.id,
        priority=Priority[options.priority.upper()],
        limits=options.limits(),
        webhook_url=options.webhook_url,
        webhook_events=options.webhook_events,
        webhook_digest=options.webhook_digest,
        metadata=metadata,
    )


def _told(connection: Connection, batch: BatchRef) -> dict[str, Any]:
    view = read_own_batch(connection, batch.account_id, batch.id)
    assert view is not None, "opened in this transaction"  # noqa: S101
    return view.as_json()


@router.get("/v1/batches", response_model=BatchList, responses=refusals(422), summary="Batches, newest first")
def get_batches(
    request: Request,
    caller: Reader,
    limit: Limit = 20,
    after: After = None,
    status: Annotated[BatchStatus | None, Query(description="Only those in this status.")] = None,
) -> Response:
    with request.app.state.engine.connect() as connection:
        views = list_batches(connection, caller.account.id, limit=limit + 1, before=after, status=status)
    return JSONResponse(page([view.as_json() for view in views], limit))


@router.get("/v1/batches/{batch_id}", response_model=Batch, responses=refusals(404), summary="One batch")
def get_batch(request: Request, caller: Reader, batch_id: BatchId) -> Response:
    parsed = parse_id(batch_id, "batch")
    with request.app.state.engine.connect() as connection:
        view = read_own_batch(connection, caller.account.id, parsed)
    if view is None:
        raise not_found("batch")
    return JSONResponse(view.as_json())


@router.get(
    "/v1/batches/{batch_id}/events",
    response_class=EventSourceResponse,
    responses={**refusals(404), 200: {"content": {"text/event-stream": events(Batch, "progress", "end")}}},
    summary="Follow a batch as server-sent events",
)
async def follow_batch(request: Request, caller: Reader, batch_id: ReadableBatch) -> AsyncIterator[ServerSentEvent]:
    """`progress` with the batch object whenever it has changed, `end` with it when it is final; then the stream ends.

    A comment every 15 s keeps the connection.
    """
    engine: Engine = request.app.state.engine
    seen: BatchView | None = None
    while not request.app.state.is_stopping:
        look = partial(_look, engine, caller.account.id, batch_id, seen)
        view = await to_thread.run_sync(look, limiter=request.app.state.look_slots)
        if view is not None:
            seen = view
            yield ServerSentEvent(data=view.as_json(), event="end" if view.status.is_final else "progress")
            if view.status.is_final:
                return
        await asyncio.sleep(_LOOK_S)


def _look(engine: Engine, account_id: uuid.UUID, batch_id: uuid.UUID, seen: BatchView | None) -> BatchView | None:
    """The batch if it has changed; None also while the database is away: the next look tells."""
    try:
        with engine.connect() as connection:
            view = read_own_batch(connection, account_id, batch_id, with_errors=False)
            if view is None or (seen is not None and _essence(view) == _essence(seen)):
                return None
            return read_own_batch(connection, account_id, batch_id)
    except (DBAPIError, PoolTimeout):
        return None


def _essence(view: BatchView) -> BatchView:
    """Without what changes by itself, and what is told beside."""
    return replace(view, forecast=None, errors=[])
