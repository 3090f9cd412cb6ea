"""Bodies that hold many jobs: JSON at once or JSONL as it streams in, checked on the way."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import Any

from anyio import to_thread
from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool

from api.bodies import JSONL, fit, media_type, parse, read_body
from api.keys import Caller
from api.problems import MEDIA_TYPE, Problem
from api.requests import BatchBody, BatchOptions, LineOptions
from producer.content import with_content
from producer.jobs import CheckedJob
from producer.manifests.checking import Checker, TooManyJobs
from producer.manifests.spool import Place, Spool
from producer.ownership import Owner, QueueFull

_BITE = 256 * 2**10  # bytes that are checked in one turn of a thread
MOST_BYTES = 2 * 2**30  # of a JSONL body: the disk is not a client's
_FULL_S = 60  # Retry-After while the account's queue is full
_FAULTS_SHOWN = 100  # of the jobs that were left out
_PIECE = 64 * 2**10  # bytes of a streamed answer

INVALID = {
    422: {"invalid_jobs": "3 jobs are invalid and nothing was done. Correct what errors names, or send skip_invalid."}
}
FULL = {429: {"queue_full": "The account may have 10000 jobs waiting, and these would be more."}}
"""Examples for the document."""

Keep = Callable[[int, CheckedJob], None]


@dataclass(frozen=True, slots=True)
class Submission:
    """What came in: its options, its jobs and faults, and the SHA-256 of its body."""

    options: BatchOptions
    metadata: dict[str, str]
    spool: Spool
    sha256: bytes


class InvalidSubmission(Exception):  # noqa: N818 - says what it is
    """Some jobs are invalid, and they may not be left out. The faults are in the spool."""


def owner_in(request: Request, caller: Caller) -> Owner:
    return Owner(caller.account, request.app.state.settings.s3_bucket)


async def read_submission(
    request: Request, caller: Caller, options: LineOptions, *, keep: Keep | None = None
) -> Submission:
    """The whole body. `keep` takes the jobs in place of the spool, which the caller has to close.

    Raise Problem 400, 413, 415 or 422, or ClientDisconnect; then nothing remains.
    """
    if media_type(request) in JSONL:
        return await _read_jsonl(request, caller, options, keep)
    if media_type(request) != "application/json":
        detail = "Send `Content-Type: application/json` for one document, `application/x-ndjson` for a job a line."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    if request.url.query:
        detail = "Beside a JSON body there are no query parameters: its options stand in the body."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", detail)
    return await _read_json(request, caller, keep)


async def _read_json(request: Request, caller: Caller, keep: Keep | None) -> Submission:
    raw = await read_body(request)
    limiter = request.app.state.parse_slots
    body = await to_thread.run_sync(partial(parse, BatchBody, raw, context=_context(request)), limiter=limiter)
    with ExitStack() as stack:
        spool, checker = _open(request, caller, "index", keep, stack, body)
        await run_in_threadpool(checker.take_records, body.jobs)
        stack.pop_all()
    return Submission(body, body.metadata, spool, hashlib.sha256(raw).digest())


async def _read_jsonl(request: Request, caller: Caller, options: LineOptions, keep: Keep | None) -> Submission:
    chosen = fit(BatchOptions, options.model_dump(exclude_unset=True), context=_context(request))
    with ExitStack() as stack:
        spool, checker = _open(request, caller, "line", keep, stack, chosen)
        try:
            sha256 = await _read_lines(request, checker)
        except TooManyJobs as error:
            detail = f"The body has {error}; send it in parts."
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail) from None
        if not checker.seen:
            detail = "The body holds no jobs: send a JSON object a line."
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", detail)
        stack.pop_all()
    return Submission(chosen, {}, spool, sha256)


async def _read_lines(request: Request, checker: Checker) -> bytes:
    """The SHA-256 of what streamed in; the event loop stays free while it is checked."""
    digest = hashlib.sha256()
    waiting = bytearray()

    def check() -> None:
        digest.update(waiting)
        checker.take(bytes(waiting))
        waiting.clear()

    size = 0
    async for chunk in request.stream():
        waiting += chunk
        size += len(chunk)
        if size > MOST_BYTES:
            raise TooManyJobs(f"more than {MOST_BYTES // 2**30} GB")
        if len(waiting) >= _BITE:
            await run_in_threadpool(check)
    await run_in_threadpool(check)
    await run_in_threadpool(checker.end)
    return digest.digest()


def _open(
    request: Request, caller: Caller, place: Place, keep: Keep | None, stack: ExitStack, options: BatchOptions
) -> tuple[Spool, Checker]:
    spool = Spool(place)
    stack.callback(spool.close)
    keep = keep or (_with_content(spool.add, caller) if options.skip_done else spool.add)
    allowed_hosts = request.app.state.settings.allowed_hosts
    return spool, Checker(spool, keep, allowed_hosts=allowed_hosts, owner=owner_in(request, caller))


def _with_content(keep: Keep, caller: Caller) -> Keep:
    """Jobs that are told by what they do; uploads lie under their content, so their addresses say enough."""
    return lambda number, job: keep(number, with_content(job, account_id=caller.account.id))


def _context(request: Request) -> dict[str, object]:
    return {"allowed_hosts": request.app.state.settings.allowed_hosts}


def queue_full(error: QueueFull) -> Problem:
    detail = f"{str(error)[0].upper()}{str(error)[1:]}; try again when some are done."
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, "queue_full", detail, headers={"Retry-After": str(_FULL_S)})


def refusal(request: Request, spool: Spool, closing: AbstractContextManager[object]) -> StreamingResponse:
    """The problem document with every fault, streamed; `closing` is left when it ends."""
    jobs = "job is" if spool.refused == 1 else "jobs are"
    detail = f"{spool.refused:,} {jobs} invalid and nothing was done. Correct what errors names, or send skip_invalid."
    problem = Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_jobs", detail)
    head = json.dumps(problem.document(request.url.path)).removesuffix("}").encode()

    def pieces() -> Iterator[bytes]:
        with closing:
            yield head + b', "errors": ['
            yield from _joined(spool.faults())
            yield b"]}"

    return StreamingResponse(pieces(), status_code=problem.status, media_type=MEDIA_TYPE)


def shown_faults(spool: Spool) -> list[Any]:
    """The first faults of the jobs that were left out."""
    return [from_json(fault) for fault in islice(spool.faults(), _FAULTS_SHOWN)]


def _joined(faults: Iterable[bytes]) -> Iterator[bytes]:
    """With commas between them, some dozens of KB at a time."""
    piece, comma = bytearray(), b""
    for fault in faults:
        piece += comma + fault
        comma = b", "
        if len(piece) > _PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
