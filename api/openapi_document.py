"""The OpenAPI document: what FastAPI knows of the routes, corrected where it is not true."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from api.keys import Reader
from api.openapi import ERRORS, SCHEMAS, schema_of, usual_refusals
from api.problems import ProblemModel

router = APIRouter(tags=["operation"])

_ABOUT = """\
Edit, generate and enhance photos in bulk through the Phota API.

Every request carries an API key (`Authorization: Bearer pb_…`; for GET, and for events of S3, also as the password of
HTTP Basic). `read` keys look, `submit` keys change, `admin` keys do both and see the metrics of the whole installation.
Ids of another account are unknown ids: 404.

Refusals are RFC 9457 problem documents with a stable `code`. A POST with an `Idempotency-Key` may be sent again for
24 hours and gets the first answer again. Lists are pages: `next_after` of one is `after` of the next. 429 and 503 say
in `Retry-After` how many seconds to wait.
"""
_TAGS = {
    "jobs": "One call to Phota each.",
    "batches": "Many jobs under one name, with one budget.",
    "uploads": "Photos in, and told of.",
    "callbacks": "For Phota.",
    "operation": "For those who run photabatch.",
}
# What generated clients call them: part of the contract, whatever the functions are called.
OPERATION_IDS = {
    ("post", "/v1/jobs"): "submitJob",
    ("get", "/v1/jobs/{job_id}"): "getJob",
    ("post", "/v1/batches"): "submitBatch",
    ("get", "/v1/batches"): "listBatches",
    ("get", "/v1/batches/{batch_id}"): "getBatch",
    ("get", "/v1/batches/{batch_id}/jobs"): "listBatchJobs",
    ("get", "/v1/batches/{batch_id}/results"): "getBatchResults",
    ("get", "/v1/batches/{batch_id}/events"): "followBatch",
    ("post", "/v1/batches/{batch_id}/pause"): "pauseBatch",
    ("post", "/v1/batches/{batch_id}/resume"): "resumeBatch",
    ("post", "/v1/batches/{batch_id}/cancel"): "cancelBatch",
    ("post", "/v1/batches/{batch_id}/retry"): "retryBatch",
    ("post", "/v1/estimates"): "estimateBatch",
    ("post", "/v1/uploads"): "uploadPhoto",
    ("post", "/v1/events/s3"): "receiveUploadEvents",
    ("post", "/v1/callbacks/phota"): "receivePhotaCallback",
    ("get", "/healthz"): "getHealth",
    ("get", "/readyz"): "getReadiness",
    ("get", "/metrics"): "getMetrics",
    ("get", "/openapi.json"): "getOpenapi",
    ("get", "/"): "getDashboard",
}
_BASIC_TOO = {"/v1/events/s3"}
_REPLAYED = {
    "description": "`true` where this is the kept answer of the first request with this `Idempotency-Key`.",
    "schema": {"type": "string", "const": "true"},
}
_LOCATION = {"description": "Where to look at what was made.", "schema": {"type": "string"}}


@router.get("/openapi.json", responses=ERRORS, summary="This document")
def read_openapi(request: Request, _: Reader) -> JSONResponse:
    """The OpenAPI 3.1 document of this server."""
    state = request.app.state
    if not hasattr(state, "document"):
        state.document = document(request.app)
    return JSONResponse(state.document)


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of an application. Raise KeyError for a route that has no operation id."""
    tags = [{"name": name, "description": text} for name, text in _TAGS.items()]
    made = get_openapi(title=app.title, version=app.version, description=_ABOUT, routes=app.routes, tags=tags)
    paths, schemas = made["paths"], made["components"]["schemas"]
    for method, path, operation in _operations(paths):
        operation["operationId"] = OPERATION_IDS[method, path]
        _correct(operation, takes_basic=method == "get" or path in _BASIC_TOO)
    made["components"]["responses"] = _share(paths)
    made["paths"] = _hoist(paths, schemas)
    _hoist(schema_of(ProblemModel), schemas)
    made["components"]["schemas"] = {
        name: schema for name, schema in sorted(schemas.items()) if "ValidationError" not in name
    }
    return made


def _operations(paths: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in paths.items():
        for method, operation in item.items():
            yield method, path, operation


def _correct(operation: dict[str, Any], *, takes_basic: bool) -> None:
    answers = operation["responses"]
    if not takes_basic and "security" in operation:
        operation["security"] = [each for each in operation["security"] if "HTTPBasic" not in each]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
        if any(map(_is_picky, operation.get("parameters", []))):
            answers["422"] = usual_refusals()[422]
    for status, answer in answers.items():
        if status.startswith("2"):
            headers = _headers(operation, status)
            answer.update({"headers": headers} if headers else {})
        for content in answer.get("content", {}).values():
            content.pop("itemSchema", None)  # of OpenAPI 3.2


def _headers(operation: dict[str, Any], status: str) -> dict[str, Any]:
    is_kept = any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", []))
    made = {"Location": _LOCATION} if status == str(HTTPStatus.ACCEPTED.value) else {}
    return {**made, "Idempotent-Replayed": _REPLAYED} if is_kept else made


def _is_picky(parameter: dict[str, Any]) -> bool:
    """Whether there is a value that FastAPI refuses."""
    said = {key for key in parameter["schema"] if key not in ("title", "description", "default", "examples")}
    return said != {"type"} or parameter["schema"]["type"] != "string"


def _share(paths: dict[str, Any]) -> dict[str, Any]:
    """Refusals that say the same everywhere are told once; an operation refers to them."""
    shared: dict[str, Any] = {}
    for _, _, operation in _operations(paths):
        for status, usual in usual_refusals().items():
            if operation["responses"].get(str(status)) == usual:
                name = HTTPStatus(status).phrase.replace(" ", "")
                shared[name] = usual
                operation["responses"][str(status)] = {"$ref": f"#/components/responses/{name}"}
    return shared


def _hoist(value: Any, schemas: dict[str, Any]) -> Any:
    """Schemas of models become components, and a reference takes their place."""
    if isinstance(value, list):
        return [_hoist(each, schemas) for each in value]
    if not isinstance(value, dict):
        return value
    for name, definition in value.get("$defs", {}).items():
        schemas.setdefault(name, _hoist(definition, schemas))
    rest = {key: _hoist(each, schemas) for key, each in value.items() if key not in ("$defs", "x-model")}
    if "x-model" not in value:
        return rest
    schemas.setdefault(value["x-model"], rest)
    return {"$ref": SCHEMAS + value["x-model"]}
