"""Errors as RFC 9457 problem documents; every refusal of the API is raised as a `Problem` and told here."""

import logging
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from psycopg.errors import DeadlockDetected, LockNotAvailable
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from clients.phota_problems import MOST, problem_of
from clients.storage_errors import StorageError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_AWAY_S = 5  # Retry-After while the database or the storage is away
_CODES = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
}
_NO_ROUTE = "No such route; /openapi.json has them all."


class FaultModel(BaseModel):
    """One thing that is wrong, and where: `line` (from 1) of a JSONL body, `index` (from 0) of a JSON one."""

    line: int | None = Field(None, examples=[3])
    index: int | None = Field(None, examples=[2])
    param: str = Field(examples=["params.image"])
    code: str = Field(examples=["bad_url"])
    message: str = Field(examples=["image: must begin with https:// or s3://"])


class ProblemModel(BaseModel):
    """RFC 9457. `code` is stable; `detail` tells people what to do."""

    type: str = Field("about:blank", examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    code: str = Field(examples=["not_found"])
    detail: str = Field(examples=["No such batch in this account."])
    instance: str = Field(examples=["/v1/batches/0192f0c1-0000-7000-8000-000000000000"])
    errors: list[FaultModel] | None = None


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """A refusal: what is wrong, where, what to do."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})

    def document(self, instance: str) -> dict[str, Any]:
        """The body; `instance` is the path that was asked for."""
        document = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "instance": instance,
        }
        return document if self.errors is None else document | {"errors": [dict(error) for error in self.errors]}


def unauthorized(detail: str) -> Problem:
    headers = {"WWW-Authenticate": "Bearer"}
    detail += " Send `Authorization: Bearer <api key>`; `photabatch key create` makes one."
    return Problem(HTTPStatus.UNAUTHORIZED, "unauthorized", detail, headers=headers)


def not_found(what: str) -> Problem:
    """The same for an unknown id and for one of another account."""
    return Problem(HTTPStatus.NOT_FOUND, "not_found", f"No such {what} in this account.")


def answer(request: Request, problem: Problem) -> JSONResponse:
    return JSONResponse(
        problem.document(request.url.path),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def _told(request: Request, error: Exception) -> JSONResponse:
    problem = _problem_of(error)
    if problem.status == HTTPStatus.METHOD_NOT_ALLOWED:
        problem.headers["Allow"] = _allowed(request)
        problem.detail = f"{request.method} is not for this route; it takes {problem.headers['Allow']}."
    return answer(request, problem)


def _allowed(request: Request) -> str:
    """The methods of all routes of this path; Starlette tells those of the first."""
    routes = [each for each in iter_route_contexts(request.app.routes) if each.path_regex.match(request.scope["path"])]
    return ", ".join(sorted({method for route in routes for method in route.methods or ()}))


def _problem_of(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return misfit([{**fault, "loc": fault["loc"][1:]} for fault in error.errors()], whole="request")
        case HTTPException(status_code=HTTPStatus.UNAUTHORIZED):
            return unauthorized("The Authorization header is malformed.")
        case HTTPException():
            code = _CODES.get(HTTPStatus(error.status_code), "invalid_request")
            detail = _NO_ROUTE if error.status_code == HTTPStatus.NOT_FOUND else str(error.detail)
            return Problem(error.status_code, code, detail, headers=error.headers)
        case OperationalError() if isinstance(error.orig, LockNotAvailable | DeadlockDetected):
            return _unavailable("Another request of this account is still at work on the same; nothing was done.")
        case OperationalError() | InterfaceError() | InternalError():
            return _away("database", error)
        case PoolTimeout():
            return _away("database", error)
        case StorageError() if error.is_retryable:
            return _away("storage", error)
        case ClientDisconnect():
            return Problem(HTTPStatus.BAD_REQUEST, "invalid_request", "The client left before the body had ended.")
    log.error("unhandled", exc_info=error)
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "A fault of the server; its log says more.")


def misfit(details: Sequence[Mapping[str, Any]], *, whole: str, fields: Collection[str] = ()) -> Problem:
    """Of pydantic's error details, in the words that the faults of jobs have. `whole`: the body, or the request."""
    told = [
        problem_of(each, operation=f"this {whole}", fields=fields, known=fields, whole=whole) for each in details[:MOST]
    ]
    errors = [{"param": each.param, "code": each.code, "message": each.message} for each in told]
    detail = "; ".join(each.message for each in told[:5])
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", detail, errors=errors)


def _away(what: str, error: Exception) -> Problem:
    log.warning("%s away: %s", what, type(error).__name__)
    return _unavailable(f"The {what} cannot be reached just now; nothing was done.")


def _unavailable(reason: str) -> Problem:
    headers = {"Retry-After": str(_AWAY_S)}
    detail = f"{reason} Try again."
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "temporarily_unavailable", detail, headers=headers)


_KINDS = (
    Problem,
    RequestValidationError,
    HTTPException,
    DBAPIError,
    PoolTimeout,
    StorageError,
    ClientDisconnect,
    Exception,
)


def install(app: FastAPI) -> None:
    """Every error of the application becomes a problem document."""
    for kind in _KINDS:
        app.add_exception_handler(kind, _told)
