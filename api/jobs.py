"""One job: queued, and looked at."""

import hashlib
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from api.bodies import check_json, parse_json, read_body
from api.keys import Caller, Reader, Submitter
from api.once import IdempotencyKey, asked, once
from api.openapi import body, refusals
from api.owned import BatchId, JobId, parse_id
from api.paging import After, Limit, page
from api.problems import Problem, not_found
from api.requests import EDIT, ENHANCE, GENERATE, JobBody
from api.schemas import Job, JobList, JobSubmitted
from api.submissions import FULL, owner_in, queue_full
from clients.output_links import add_links
from clients.phota_requests import InvalidRequest
from models.jobs import JobView, list_jobs, read_job
from models.progress import read_own_batch
from models.states import JobState
from producer.jobs import CheckedJob, ShortText
from producer.manifests.record import check_record
from producer.ownership import QueueFull
from producer.submission import insert

router = APIRouter(tags=["jobs"])

_MOST = 128 * 2**10  # bytes: a job has at most 64 KB, and may come with spaces
_EXAMPLES = {"enhance": ENHANCE, "edit": EDIT, "generate": GENERATE}
_CODES = FULL | {422: {"invalid_jobs": "image: must begin with https:// or s3://"}}


@router.post(
    "/v1/jobs",
    status_code=HTTPStatus.ACCEPTED,
    response_model=JobSubmitted,
    responses=refusals(400, 409, 413, 415, 422, codes=_CODES),
    openapi_extra=body(json=JobBody, examples=_EXAMPLES),
    summary="Queue one job",
)
async def create_job(request: Request, caller: Submitter, key: IdempotencyKey = None) -> Response:
    """A job whose `idempotency_key` is known already is that job (`is_new` false), not queued again."""
    check_json(request)
    raw = await read_body(request, limit=_MOST)
    return await run_in_threadpool(_submit, request, caller, key, raw)


def _submit(request: Request, caller: Caller, key: str | None, raw: bytes) -> Response:
    owner = owner_in(request, caller)
    question = asked(request, caller, key, hashlib.sha256(raw).digest())
    job = _checked(request, caller, raw)

    def work(connection: Connection) -> dict[str, Any]:
        submitted = insert(connection, [job], owner=owner)[0]
        return {
            "id": str(submitted.id),
            "state": submitted.state.value,
            "status_url": f"/v1/jobs/{submitted.id}",
            "is_new": submitted.is_new,
        }

    try:
        return once(request.app.state.engine, question, work, status=HTTPStatus.ACCEPTED)
    except QueueFull as error:
        raise queue_full(error) from None


def _checked(request: Request, caller: Caller, raw: bytes) -> CheckedJob:
    allowed_hosts = request.app.state.settings.allowed_hosts
    try:
        return check_record(parse_json(raw), allowed_hosts=allowed_hosts, owner=owner_in(request, caller))
    except InvalidRequest as error:
        errors = [{"param": each.param, "code": each.code, "message": each.message} for each in error.problems]
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_jobs", str(error), errors=errors) from None


@router.get("/v1/jobs/{job_id}", response_model=Job, responses=refusals(404), summary="One job")
def get_job(request: Request, caller: Reader, job_id: JobId) -> Response:
    """With its outputs, what each try of a stage met, and its cost."""
    parsed = parse_id(job_id, "job")
    with request.app.state.engine.connect() as connection:
        job = read_job(connection, caller.account.id, parsed)
    if job is None:
        raise not_found("job")
    return JSONResponse(_linked(request, job))


@router.get(
    "/v1/batches/{batch_id}/jobs",
    response_model=JobList,
    responses=refusals(404, 422),
    tags=["batches"],
    summary="The jobs of a batch",
)
def get_jobs(
    request: Request,
    caller: Reader,
    batch_id: BatchId,
    state: Annotated[JobState | None, Query(description="Only those in this state.")] = None,
    code: Annotated[ShortText | None, Query(description="Only those with this error code.")] = None,
    limit: Limit = 20,
    after: After = None,
) -> Response:
    """In the order of their making. Of a job that was retried, the generation that counts."""
    parsed, account_id = parse_id(batch_id, "batch"), caller.account.id
    with request.app.state.engine.connect() as connection:
        if read_own_batch(connection, account_id, parsed, with_errors=False) is None:
            raise not_found("batch")
        jobs = list_jobs(connection, account_id, parsed, state=state, code=code, limit=limit + 1, after=after)
    return JSONResponse(page([_linked(request, job) for job in jobs], limit))


def _linked(request: Request, job: JobView) -> dict[str, Any]:
    """The job object with a `url` in each of its outputs."""
    shown = job.as_json()
    add_links(request.app.state.storage, shown["outputs"])
    return shown
