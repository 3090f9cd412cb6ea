"""What is done to a batch: pause, resume, cancel, retry."""

import hashlib
import uuid
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy import Connection

from api.bodies import M, check_json, parse, read_body
from api.keys import Caller, Submitter
from api.once import IdempotencyKey, asked, once
from api.openapi import body, refusals
from api.owned import BatchId, parse_id
from api.problems import Problem, not_found
from api.requests import ResumeBody, RetryBody
from api.schemas import Batch, BatchCancelled, BatchRetried
from api.submissions import FULL, queue_full
from models.progress import BatchView, read_own_batch
from producer.batches import BatchError, NoSuchBatch, cancel_batch, pause_batch, resume_batch, retry_batch
from producer.ownership import QueueFull

router = APIRouter(tags=["batches"])

_FINISHED = {"batch_finished": "The batch has ended already: completed."}
_CANCELLED = {"batch_cancelled": "The batch was cancelled; what is paid for is still collected."}
_BUDGET = {
    "budget_reached": "$19.80 of the budget of $20.00 are used and the next job needs up to $0.60: it takes a budget "
    "of at least $20.40."
}
_SMALL = 64 * 2**10  # bytes of a body with nothing but options

Act = Callable[[Connection, uuid.UUID], dict[str, Any]]


@router.post(
    "/v1/batches/{batch_id}/pause",
    response_model=Batch,
    responses=refusals(404, 409, codes={409: _FINISHED | _CANCELLED}),
    summary="Begin nothing more of a batch",
)
async def pause(request: Request, caller: Submitter, batch_id: BatchId, key: IdempotencyKey = None) -> Response:
    """Until it is resumed. What is paid for is still collected."""

    def act(connection: Connection, parsed: uuid.UUID) -> dict[str, Any]:
        pause_batch(connection, parsed)
        return {}

    return await _do(request, caller, batch_id, key, b"", act)


@router.post(
    "/v1/batches/{batch_id}/resume",
    response_model=Batch,
    responses=refusals(400, 404, 409, 413, 415, 422, codes={409: _FINISHED | _CANCELLED | _BUDGET}),
    openapi_extra=body(json=ResumeBody, is_required=False),
    summary="Let a paused batch go on",
)
async def resume(request: Request, caller: Submitter, batch_id: BatchId, key: IdempotencyKey = None) -> Response:
    """One that has reached its budget needs a higher one."""
    options, raw = await _options(request, ResumeBody)

    def act(connection: Connection, parsed: uuid.UUID) -> dict[str, Any]:
        resume_batch(connection, parsed, budget_usd=options.budget_usd)
        return {}

    return await _do(request, caller, batch_id, key, raw, act)


@router.post(
    "/v1/batches/{batch_id}/cancel",
    response_model=BatchCancelled,
    responses=refusals(404, 409, codes={409: _FINISHED}),
    summary="Give a batch up",
)
async def cancel(request: Request, caller: Submitter, batch_id: BatchId, key: IdempotencyKey = None) -> Response:
    """Jobs that Phota was not called for are cancelled; what is, or may be, paid for is still collected."""

    def act(connection: Connection, parsed: uuid.UUID) -> dict[str, Any]:
        return {"in_flight": cancel_batch(connection, parsed).in_flight}

    return await _do(request, caller, batch_id, key, b"", act)


@router.post(
    "/v1/batches/{batch_id}/retry",
    response_model=BatchRetried,
    responses=refusals(400, 404, 409, 413, 415, 422, codes=FULL | {409: _CANCELLED}),
    openapi_extra=body(json=RetryBody, is_required=False),
    summary="Try again what has failed",
)
async def retry(request: Request, caller: Submitter, batch_id: BatchId, key: IdempotencyKey = None) -> Response:
    """All that failed or expired, or what has one error code. Nothing that is paid for is paid for again."""
    options, raw = await _options(request, RetryBody)

    def act(connection: Connection, parsed: uuid.UUID) -> dict[str, Any]:
        done = retry_batch(connection, parsed, code=options.code, pay_again=options.pay_again)
        numbers = {"retried": done.retried, "collected_again": done.collected_again}
        return numbers | {"left": done.left, "refused": done.refused}

    return await _do(request, caller, batch_id, key, raw, act)


async def _options(request: Request, model: type[M]) -> tuple[M, bytes]:
    """Of a body that may be missing, and its bytes."""
    raw = await read_body(request, limit=_SMALL)
    if not raw:
        return model(), raw
    check_json(request)
    return parse(model, raw), raw


async def _do(request: Request, caller: Caller, batch_id: str, key: str | None, raw: bytes, act: Act) -> Response:
    """Act on a batch of the caller's own, once; the batch as it is afterwards, and what `act` tells."""
    parsed, account_id = parse_id(batch_id, "batch"), caller.account.id

    def work(connection: Connection) -> dict[str, Any]:
        _found(connection, account_id, parsed)
        more = act(connection, parsed)
        return _found(connection, account_id, parsed).as_json() | more

    question = asked(request, caller, key, hashlib.sha256(raw).digest())
    try:
        doing = partial(once, request.app.state.engine, question, work)
        return await to_thread.run_sync(doing, limiter=request.app.state.bulk_slots)
    except QueueFull as error:
        raise queue_full(error) from None
    except NoSuchBatch:
        raise not_found("batch") from None
    except BatchError as error:
        detail = f"{str(error)[0].upper()}{str(error)[1:]}."
        raise Problem(HTTPStatus.CONFLICT, error.code, detail) from None


def _found(connection: Connection, account_id: uuid.UUID, batch_id: uuid.UUID) -> BatchView:
    view = read_own_batch(connection, account_id, batch_id)
    if view is None:
        raise not_found("batch")
    return view
