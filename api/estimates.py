"""What a batch would cost, before anything is spent."""

from contextlib import ExitStack
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from api.keys import Caller, Submitter
from api.once import IdempotencyKey, asked, once
from api.openapi import body, refusals
from api.requests import BatchBody, JobBody, LineOptions
from api.schemas import Estimate
from api.submissions import INVALID, Submission, read_submission, refusal, shown_faults
from models.accounts import AccountRef, count_waiting
from producer.estimating import Tally
from producer.prospects import cautions, read_prospects

router = APIRouter(tags=["batches"])


@router.post(
    "/v1/estimates",
    response_model=Estimate,
    responses=refusals(400, 409, 413, 415, 422, codes=INVALID),
    openapi_extra=body(json=BatchBody, jsonl=JobBody),
    summary="What a batch would cost",
)
async def create_estimate(
    request: Request, caller: Submitter, options: Annotated[LineOptions, Query()], key: IdempotencyKey = None
) -> Response:
    """The body of a batch, of which nothing is queued. Warns of what may not be meant."""
    tally = Tally()
    submission = await read_submission(request, caller, options, keep=tally.add)
    with ExitStack() as stack:
        stack.callback(submission.spool.close)
        if submission.spool.refused and (not submission.options.skip_invalid or not tally.jobs):
            return refusal(request, submission.spool, stack.pop_all())
        return await run_in_threadpool(_estimate, request, caller, key, submission, tally)


def _estimate(request: Request, caller: Caller, key: str | None, submission: Submission, tally: Tally) -> Response:
    def work(connection: Connection) -> dict[str, Any]:
        limits = submission.options.limits()
        room = _room(connection, caller.account)
        warnings = tally.warnings(budget_usd=limits.budget_usd, room=room)
        answer = {
            "jobs": tally.jobs,
            "invalid": submission.spool.refused,
            "cost_usd": {"low": float(tally.low_usd), "high": float(tally.high_usd)},
            "warnings": [
                {"code": warning.code, "message": warning.message}
                for warning in [*warnings, *cautions(tally, limits, read_prospects(connection, caller.account.id))]
            ],
        }
        return answer | ({"errors": shown_faults(submission.spool)} if submission.options.skip_invalid else {})

    return once(request.app.state.engine, asked(request, caller, key, submission.sha256), work, status=HTTPStatus.OK)


def _room(connection: Connection, account: AccountRef) -> int | None:
    if account.queue_limit is None:
        return None
    return max(0, account.queue_limit - count_waiting(connection, account.id))
