"""From the API's JSON to typed objects and errors. Pure; knows httpx's response and nothing of connections."""

import dataclasses
import email.utils
import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import httpx

from photabatch import errors
from photabatch._lines import Lines
from photabatch.states import BatchStatus, JobState
from photabatch.types import (
    Attempt,
    Batch,
    BatchCancelled,
    BatchRetried,
    BatchSubmitted,
    Cost,
    CostRange,
    Counts,
    ErrorCount,
    Estimate,
    EstimateWarning,
    Forecast,
    Job,
    JobError,
    JobSubmitted,
    LineError,
    Output,
    Page,
    Result,
    Upload,
)

T = TypeVar("T")
B = TypeVar("B", bound=Batch)
Body = Mapping[str, Any]
Reader = Callable[[Body], T]

_LONGEST_DETAIL = 500  # characters of an answer that is no problem document
_KINDS: dict[int, type[errors.ApiError]] = {
    400: errors.Invalid,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.Invalid,
    415: errors.Invalid,
    422: errors.Invalid,
    429: errors.TooManyRequests,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.Unavailable,
}


def read(response: httpx.Response, reader: Reader[T]) -> T:
    """Raise ApiError, code `unreadable_answer`, where the API answered with something else."""
    return read_text(response, response.content, reader)


def read_text(response: httpx.Response, text: bytes | str, reader: Reader[T]) -> T:
    """One JSON object of a response, which may be a line or an event of it."""
    try:
        return reader(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise errors.ApiError(
            f"the answer cannot be read ({type(error).__name__}: {error}); is this address the photabatch API?",
            status=response.status_code,
            code="unreadable_answer",
            request=_request_line(response),
        ) from None


def error_of(response: httpx.Response) -> errors.ApiError:
    """The error that a response stands for; its body must have been read."""
    body = _problem(response)
    status = response.status_code
    return _KINDS.get(status, errors.ApiError)(
        str(body.get("detail") or body.get("title") or _plain_detail(response)),
        status=status,
        code=str(body.get("code") or f"http_{status}"),
        errors=[_plain(LineError, error) for error in _objects(body.get("errors"))],
        request=_request_line(response),
        retry_after=retry_after_s(response.headers.get("retry-after", "")),
    )


def retry_after_s(value: str, *, now: datetime | None = None) -> float | None:
    """`Retry-After` in seconds, from a number or an HTTP date; None without a usable one."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(value)
        except (ValueError, IndexError, TypeError):
            return None
        moment = moment.replace(tzinfo=moment.tzinfo or UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None


class ResultLines:
    """Results out of a streamed answer."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._lines = Lines()

    def feed(self, piece: bytes) -> list[Result]:
        """Raise ApiError where a line cannot be read."""
        return self._read(self._lines.feed(piece))

    def rest(self) -> list[Result]:
        return self._read([self._lines.rest()])

    def _read(self, lines: list[bytes]) -> list[Result]:
        return [read_text(self._response, line, result) for line in lines if line.strip()]


def job(body: Body) -> Job:
    known = _known(Job, body) | {
        "state": JobState(body["state"]),
        "cost_usd": _money(body.get("cost_usd")),
        "estimate_usd": _money(body.get("estimate_usd")),
        "error": _plain(JobError, body["error"]) if body.get("error") else None,
        "outputs": tuple(_plain(Output, each) for each in body.get("outputs") or ()),
        "attempts": tuple(_attempt(each) for each in body.get("attempts") or ()),
    }
    return Job(**_with_moments(known, "created_at", "finished_at"))


def job_submitted(body: Body) -> JobSubmitted:
    return JobSubmitted(**_known(JobSubmitted, body) | {"state": JobState(body["state"])})


def batch(body: Body) -> Batch:
    return _batch(Batch, body)


def batch_submitted(body: Body) -> BatchSubmitted:
    """Where jobs were left out, `errors` are those of lines; they have no `count`."""
    found = _objects(body.get("errors"))
    counted = {**body, "errors": [each for each in found if "count" in each]}
    lines = tuple(_plain(LineError, each) for each in found if "count" not in each)
    return dataclasses.replace(_batch(BatchSubmitted, counted), line_errors=lines)


def batch_cancelled(body: Body) -> BatchCancelled:
    return _batch(BatchCancelled, body)


def batch_retried(body: Body) -> BatchRetried:
    return _batch(BatchRetried, body)


def result(body: Body) -> Result:
    response = body.get("response") or {}
    return Result(
        id=body["id"],
        state=JobState(body["state"]),
        custom_id=body.get("custom_id"),
        outputs=tuple(_plain(Output, each) for each in response.get("outputs") or ()),
        cost_usd=_money(response.get("cost_usd")) or Decimal(0),
        known_subjects=response.get("known_subjects") or {},
        error=_plain(JobError, body["error"]) if body.get("error") else None,
    )


def estimate(body: Body) -> Estimate:
    cost = body["cost_usd"]
    warnings = tuple(_plain(EstimateWarning, each) for each in body.get("warnings") or ())
    faults = tuple(_plain(LineError, each) for each in _objects(body.get("errors")))
    costs = CostRange(_decimal(cost["low"]), _decimal(cost["high"]))
    return Estimate(body["jobs"], costs, warnings, body.get("invalid") or 0, faults)


def upload(body: Body) -> Upload:
    return _plain(Upload, body)


def page_of(reader: Reader[T]) -> Reader[Page[T]]:
    """Reads a list whose elements `reader` reads."""

    def page(body: Body) -> Page[T]:
        return Page(tuple(reader(each) for each in body["data"]), bool(body.get("has_more")), body.get("next_after"))

    return page


def _batch(cls: type[B], body: Body) -> B:
    costs = {name: _decimal(value) for name, value in _known(Cost, body.get("cost_usd") or {}).items()}
    known = _known(cls, body) | {
        "status": BatchStatus(body["status"]),
        "counts": _plain(Counts, body.get("counts") or {}),
        "cost_usd": Cost(**costs),
        "budget_usd": _money(body.get("budget_usd")),
        "forecast": _forecast(body["forecast"]) if body.get("forecast") else None,
        "errors": tuple(_plain(ErrorCount, each) for each in _objects(body.get("errors"))),
    }
    moments = ("deadline", "waits_until", "eta", "created_at", "started_at", "finished_at")
    return cls(**_with_moments(known, *moments))


def _forecast(body: Body) -> Forecast:
    return Forecast(**_with_moments(_known(Forecast, body), "finishes_at"))


def _attempt(body: Body) -> Attempt:
    return Attempt(**_with_moments(_known(Attempt, body), "started_at"))


def _plain(cls: type[T], body: Body) -> T:
    """An object whose fields are taken as they are."""
    return cls(**_known(cls, body))


def _known(cls: type[Any], body: Body) -> dict[str, Any]:
    """What of an object the class has fields for; null means the field's default."""
    names = {each.name for each in dataclasses.fields(cls)}
    return {name: value for name, value in body.items() if name in names and value is not None}


def _with_moments(known: dict[str, Any], *names: str) -> dict[str, Any]:
    return known | {name: datetime.fromisoformat(known[name]) for name in names if known.get(name)}


def _money(value: Any) -> Decimal | None:
    return None if value is None else _decimal(value)


def _decimal(value: Any) -> Decimal:
    """As it was written: the shortest text of the float, not its binary value."""
    return Decimal(str(value))


def _objects(value: Any) -> list[Body]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _problem(response: httpx.Response) -> Body:
    try:
        body = json.loads(response.content)
    except ValueError:
        return {}
    return body if isinstance(body, Mapping) else {}


def _plain_detail(response: httpx.Response) -> str:
    if response.is_redirect:
        return f"redirected to {response.headers['location']}, where the key is not sent; give that address as url"
    is_text = response.headers.get("content-type", "").startswith("text/plain")
    return (response.text[:_LONGEST_DETAIL].strip() if is_text else "") or f"the API answered {response.reason_phrase}"


def _request_line(response: httpx.Response) -> str:
    return f"{response.request.method} {response.request.url.path}"
