"""Refusals of the simulated API, in the shapes of the live one.

PhotaError                {"code", "detail", "request_id"}
└── UnprocessableError 422, {"detail": [{"loc", "msg", "type"}], "request_id"}, as FastAPI writes it
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class PhotaError(Exception):
    """An answer other than success; `headers` go out with it."""

    def __init__(self, status: int, code: str, detail: Any, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(code, detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers

    def body(self, request_id: str) -> dict[str, Any]:
        return {"code": self.code, "detail": self.detail, "request_id": request_id}


class UnprocessableError(PhotaError):
    """The request does not have the documented form."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__(422, "VALIDATION", detail)

    def body(self, request_id: str) -> dict[str, Any]:
        return {"detail": self.detail, "request_id": request_id}


def not_found(what: str) -> PhotaError:
    return PhotaError(404, "NOT_FOUND", f"{what} does not exist")


def respond(error: PhotaError, request_id: str) -> Response:
    return JSONResponse(error.body(request_id), error.status, error.headers)


async def handle(request: Request, error: Exception) -> Response:
    """Exception handler for Starlette: PhotaError, and whatever its router refuses."""
    if not isinstance(error, PhotaError):
        error = PhotaError(
            getattr(error, "status_code", 500), "BAD_REQUEST", getattr(error, "detail", "internal error")
        )
    return respond(error, request.scope.get("request_id", ""))
