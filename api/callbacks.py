"""Phota's callbacks: open without a key, proved by their signature."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api.openapi import open_refusals
from api.problems import Problem
from producer.callbacks import (
    MAX_CALLBACK_BYTES,
    SIGNATURE_HEADER,
    CallbackSecrets,
    SecretUnavailable,
    take_callback,
)
from settings import CALLBACK_PATH

router = APIRouter()

_BAD_SIGNATURE = f"{SIGNATURE_HEADER} is not the HMAC-SHA256 of this body under the secret of the account at Phota."
_UNPROVED = "The secret that proves callbacks cannot be had from Phota just now."
_TOO_LARGE = f"A callback has at most {MAX_CALLBACK_BYTES // 2**10} KB."
_REFUSALS = open_refusals(
    401, 413, 500, 503, codes={401: {"bad_signature": _BAD_SIGNATURE}, 413: {"too_large": _TOO_LARGE}}
)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "examples": {"finished": {"value": {"job_id": "9b2e…", "status": "succeeded"}}},
            }
        },
    }
}


@router.post(
    CALLBACK_PATH,
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses=_REFUSALS,
    openapi_extra=_BODY,
    summary="Phota tells that a job has ended",
)
async def take_phota_callback(
    request: Request,
    signature: Annotated[
        str, Header(alias=SIGNATURE_HEADER, description="HMAC-SHA256 of the body in hex, bare or behind `sha256=`.")
    ] = "",
) -> None:
    """Signed by Phota, a hint: the job is asked for at once. One that tells of no running job changes nothing."""
    body = await _body(request)
    secrets: CallbackSecrets | None = request.app.state.callbacks
    try:
        is_genuine = secrets is not None and await secrets.is_genuine(body, signature)
    except SecretUnavailable:
        secrets = None
    if secrets is None:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE, "temporarily_unavailable", _UNPROVED, headers={"Retry-After": "5"}
        )
    if not is_genuine:
        raise Problem(HTTPStatus.UNAUTHORIZED, "bad_signature", _BAD_SIGNATURE)
    await run_in_threadpool(_take, request.app.state.engine, body)


def _take(engine: Engine, body: bytes) -> None:
    with engine.begin() as connection:
        take_callback(connection, body)


async def _body(request: Request) -> bytes:
    """The bytes as they came, since those are signed. Raise Problem 413."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_CALLBACK_BYTES:
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", _TOO_LARGE)
    return bytes(body)
