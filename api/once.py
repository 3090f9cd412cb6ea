"""`Idempotency-Key`: the effect and its answer are one transaction, so a request that is sent again gets the answer."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Header, Request
from fastapi.responses import JSONResponse
from pydantic_core import from_json, to_json
from sqlalchemy import Connection, Engine

from api.keys import Caller
from api.problems import Problem
from clients.failpoints import pass_point
from models.engine import wait_at_most
from models.idempotency import KeptAnswer, keep_answer, lock_key, read_answer
from settings import get_settings

_PATIENCE_S = 5  # for what another request of the account holds; then 503, not a connection taken from all others

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key with the same body within 24 h gets the first answer again.",
    ),
]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that changes something; `body_sha256` of the body as it came."""

    caller: Caller
    key: str | None
    route: str
    body_sha256: bytes


def asked(request: Request, caller: Caller, key: str | None, body_sha256: bytes) -> Asked:
    """`route` holds path and query: the options of a JSONL body are part of what was asked."""
    query = f"?{request.url.query}" if request.url.query else ""
    return Asked(caller, key, f"{request.method} {request.url.path}{query}", body_sha256)


def once(
    engine: Engine, question: Asked, work: Callable[[Connection], dict[str, Any]], *, status: int = HTTPStatus.OK
) -> JSONResponse:
    """Do `work` in one transaction and answer with what it returns; or replay the answer that is kept.

    What raises is rolled back and not kept. Raise Problem 409.
    """
    with engine.begin() as connection:
        wait_at_most(connection, _PATIENCE_S)
        kept = _kept(connection, question)
        if kept is not None:
            return _answer(from_json(kept.answer), kept.status, {"Idempotent-Replayed": "true"})
        answer = work(connection)
        if question.key is not None:
            made = KeptAnswer(question.route, question.body_sha256, status, to_json(answer).decode())
            pass_point("in_once", get_settings().failpoint)
            keep_answer(connection, question.caller.account.id, question.key, made)
    pass_point("before_answer", get_settings().failpoint)
    return _answer(answer, status, {})


def _answer(content: dict[str, Any], status: int, headers: dict[str, str]) -> JSONResponse:
    """What was made can be looked at where its `status_url` says."""
    location = {"Location": content["status_url"]} if "status_url" in content else {}
    return JSONResponse(content, status_code=status, headers=headers | location)


def _kept(connection: Connection, question: Asked) -> KeptAnswer | None:
    if question.key is None:
        return None
    account_id = question.caller.account.id
    if not lock_key(connection, account_id, question.key):
        detail = "A request with this Idempotency-Key is still being worked on; ask again in a moment."
        headers = {"Retry-After": "1"}
        raise Problem(HTTPStatus.CONFLICT, "idempotency_in_progress", detail, headers=headers)
    kept = read_answer(connection, account_id, question.key)
    if kept is not None and (kept.route, kept.body_sha256) != (question.route, question.body_sha256):
        detail = "This Idempotency-Key was used for another request; use a new key for a new request."
        raise Problem(HTTPStatus.CONFLICT, "idempotency_conflict", detail)
    return kept
