"""Request bodies: read after the caller is proved, within bounds, and refused with every fault named."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from api.problems import Problem, misfit

M = TypeVar("M", bound=BaseModel)

MAX_JSON = 4 * 2**20  # bytes, which may become a hundred MB of objects; what is larger comes as JSONL, streamed
SMALLER = "A batch may come as JSONL (application/x-ndjson), anything else in parts."
_MOST_FIELDS = 1_000  # of one object
JSONL = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, *, limit: int = MAX_JSON) -> bytes:
    """All of it. Raise Problem 413 beyond `limit` bytes, however they are announced."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            detail = f"The body has more than {limit // 2**10:,} KB. {SMALLER}"
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail)
    return bytes(body)


def check_json(request: Request, *, is_empty: bool = False) -> None:
    """Raise Problem 415 for anything but JSON; nothing at all may come without a type."""
    if media_type(request) not in ("application/json", *(("",) if is_empty else ())):
        detail = "Send JSON: `Content-Type: application/json`."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)


def parse(model: type[M], body: bytes, *, context: Mapping[str, Any] | None = None) -> M:
    """Raise Problem 400 for what is no JSON, 422 for what does not fit, with a fault a field."""
    return fit(model, parse_json(body), context=context)


def parse_json(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        hint = "; a job a line is application/x-ndjson" if str(error).startswith("trailing") else ""
        raise Problem(HTTPStatus.BAD_REQUEST, "invalid_json", f"The body is not JSON: {error}{hint}.") from None


def fit(model: type[M], value: Any, *, context: Mapping[str, Any] | None = None) -> M:
    """`context` as the validators of the model take it. Raise Problem 422."""
    _check_size(value)
    try:
        return model.model_validate(value, context=context)
    except ValidationError as error:
        raise misfit(error.errors(include_url=False), whole="body", fields=model.model_fields) from None


def _check_size(value: Any) -> None:
    """A hostile object could have a million fields, and so a million faults. Raise Problem 422."""
    objects = [each for each in (value, *_values(value)) if isinstance(each, dict)]
    if any(len(each) > _MOST_FIELDS for each in objects):
        detail = f"An object of the body has more than {_MOST_FIELDS:,} fields."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", detail)


def _values(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) and len(value) <= _MOST_FIELDS else ()
