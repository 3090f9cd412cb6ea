"""How routes tell the OpenAPI document what FastAPI cannot see: bodies they read themselves, and every refusal."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from api.bodies import SMALLER
from api.problems import MEDIA_TYPE, ProblemModel

SCHEMAS = "#/components/schemas/"
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
_CHALLENGE = {"WWW-Authenticate": {"description": "How to prove who you are.", "schema": {"type": "string"}}}
_HEADERS: dict[int, dict[str, Any]] = {401: _CHALLENGE, 429: _RETRY_AFTER, 503: _RETRY_AFTER}
# Of each status: when, and its codes with an example of what `detail` says.
_REFUSALS: dict[int, tuple[str, dict[str, str]]] = {
    400: (
        "The body is not JSON.",
        {"invalid_json": "The body is not JSON: expected value at line 1 column 1."},
    ),
    401: (
        "No key, or one that is not known or was revoked.",
        {
            "unauthorized": "The API key is not known, or was revoked. Send `Authorization: Bearer <api key>`; "
            "`photabatch key create` makes one."
        },
    ),
    403: (
        "The key lacks the scope.",
        {"missing_scope": "This key lacks the scope `submit`; it has: read."},
    ),
    404: (
        "Unknown id, or one of another account: the same answer.",
        {"not_found": "No such batch in this account."},
    ),
    409: (
        "Not in this state, or not with this `Idempotency-Key`.",
        {
            "idempotency_conflict": "This Idempotency-Key was used for another request; use a new key for a new "
            "request.",
            "idempotency_in_progress": "A request with this Idempotency-Key is still being worked on; ask again in a "
            "moment.",
        },
    ),
    413: (
        "The body is too large.",
        {"too_large": f"The body has more than 4,096 KB. {SMALLER}"},
    ),
    415: (
        "Another media type is expected.",
        {"unsupported_media_type": "Send JSON: `Content-Type: application/json`."},
    ),
    422: (
        "The request does not fit; `errors` names every fault, and where it is.",
        {"invalid_request": "limit: 101 is more than 100"},
    ),
    429: (
        "The account's rate is used up, or its queue is full.",
        {"rate_limited": "The account may send 60 requests a minute; wait as Retry-After says."},
    ),
    500: (
        "A fault of the server.",
        {"internal_error": "A fault of the server; its log says more."},
    ),
    503: (
        "The database or the storage cannot be reached.",
        {"temporarily_unavailable": "The database cannot be reached just now; nothing was done. Try again."},
    ),
}
_OF_EVERY_ROUTE = (401, 403, 429, 500, 503)


Codes = Mapping[int, Mapping[str, str]]
"""Of a status: its codes, each with an example of its `detail`."""


def refusals(*statuses: int, codes: Codes | None = None) -> dict[int | str, dict[str, Any]]:
    """Of a route behind a key, for `responses=`: what every such route may refuse with, and these statuses.

    `codes` come on top of those that a status always has.
    """
    wanted = sorted({*_OF_EVERY_ROUTE, *statuses})
    return {status: _refusal(status, {**_REFUSALS[status][1], **(codes or {}).get(status, {})}) for status in wanted}


def open_refusals(*statuses: int, codes: Codes | None = None) -> dict[int | str, dict[str, Any]]:
    """Of a route that is open without a key: these statuses alone; `codes` take the place of the usual ones."""
    return {status: _refusal(status, (codes or {}).get(status, _REFUSALS[status][1])) for status in statuses}


def _refusal(status: int, codes: Mapping[str, str]) -> dict[str, Any]:
    examples = {code: {"value": _example(status, code, detail)} for code, detail in codes.items()}
    usual, usual_codes = _REFUSALS[status]
    answer = {
        "description": usual if usual_codes.keys() & codes.keys() else next(iter(codes.values())),
        "content": {MEDIA_TYPE: {"schema": {"$ref": SCHEMAS + ProblemModel.__name__}, "examples": examples}},
    }
    headers = {} if status == HTTPStatus.UNAUTHORIZED and "unauthorized" not in codes else _HEADERS.get(status)
    return {**answer, "headers": headers} if headers else answer


def _example(status: int, code: str, detail: str) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "instance": "/v1/batches",
    }


ERRORS = refusals()
"""What every route behind a key may refuse with."""


def body(
    *,
    json: type[BaseModel] | None = None,
    jsonl: type[BaseModel] | None = None,
    binary: str | None = None,
    examples: Mapping[str, Any] | None = None,
    is_required: bool = True,
) -> dict[str, Any]:
    """For `openapi_extra=`: a body that the route reads itself.

    `json` is the model of the whole, `jsonl` that of a line, `binary` a media type (range) of plain bytes. `examples`
    of the JSON body: by name, the value.
    """
    content: dict[str, Any] = {}
    if json is not None:
        content["application/json"] = {"schema": schema_of(json)}
        if examples:
            content["application/json"]["examples"] = {name: {"value": value} for name, value in examples.items()}
    if jsonl is not None:
        content["application/x-ndjson"] = lines(jsonl)
    if binary is not None:
        content[binary] = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": is_required, "content": content}}


def lines(model: type[BaseModel]) -> dict[str, Any]:
    """The media type object of a stream of JSON lines, each of this model."""
    schema = {"type": "string", "contentMediaType": "application/x-ndjson", "contentSchema": schema_of(model)}
    return {"schema": schema}


def events(model: type[BaseModel], *names: str) -> dict[str, Any]:
    """The media type object of server-sent events; the schema is that of each: its name, and JSON of this model."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema_of(model)}
    properties = {"event": {"type": "string", "enum": list(names)}, "data": data}
    return {"schema": {"type": "object", "required": ["event", "data"], "properties": properties}}


def usual_refusals() -> dict[int, dict[str, Any]]:
    """By status, with the codes that it always has."""
    return {status: _refusal(status, codes) for status, (_, codes) in _REFUSALS.items()}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """With its `$defs` inside; the document moves them to where they are shared."""
    return {**model.model_json_schema(ref_template=SCHEMAS + "{model}"), "x-model": model.__name__}
