"""Reading Phota's answers: HTTP is translated here and nowhere else.

Documented: `job_id` and `poll_url` of a 202; `known_subjects`, `images`, `download_urls` of a result; `code`, `detail`
and `request_id` of an error. ASSUMED, each in one place below, until the real text is at hand:

- job states: WAITING, DONE, FAILED, in any case; any other word still waits
- where a job keeps its result and its error: `_result_of`, `_error_of`
- what an HTTP status to a poll means: `_poll_error`
- the field of the webhook secret: `secret_of`
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import httpx

from clients.http import retry_after_seconds
from clients.phota_errors import (
    GateClosed,
    GateReason,
    JobFailed,
    JobLost,
    PhotaError,
    Rejected,
    Throttled,
    Uncertain,
    redact,
)

WAITING = frozenset({"queued", "pending", "submitted", "running", "processing", "in_progress"})
DONE = frozenset({"succeeded", "completed", "success", "done", "ready"})
FAILED = frozenset({"failed", "error", "cancelled", "canceled", "expired", "timeout"})
MODERATION = "content_moderation"

Call = Literal["submit", "call", "poll", "other"]

_GATES: Mapping[int, GateReason] = {401: "bad_key", 402: "no_credit", 403: "forbidden"}
_REJECTIONS = {400: "bad_request", 404: "not_found", 409: "conflict", 413: "too_large", 422: "invalid_request"}


class UnreadableAnswer(ValueError):  # noqa: N818 - raised and caught here
    """The body does not say what an answer of its kind must say."""


class About(TypedDict):
    """What every error keeps of its answer."""

    http_status: int
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read to its end. `body` is None if it is not a JSON object."""

    http_status: int
    headers: Mapping[str, str]
    body: dict[str, Any] | None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, response: httpx.Response, content: bytes, *, secrets: tuple[str, ...]) -> "Answer":
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            body = None
        return cls(response.status_code, response.headers, body if isinstance(body, dict) else None, secrets)

    @property
    def request_id(self) -> str | None:
        value = self.headers.get("x-request-id") or (self.body or {}).get("request_id")
        return redact(str(value))[:200] if value else None

    @property
    def retry_after(self) -> float | None:
        return retry_after_seconds(self.headers)


@dataclass(frozen=True, slots=True)
class Handle:
    """An accepted asynchronous job. `poll_url` is absolute and on the API's own origin."""

    job_id: str
    poll_url: str
    request_id: str | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The job is not finished; `retry_after`: seconds Phota asked to wait, if it did."""

    retry_after: float | None = None
    request_id: str | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """A finished job: `urls` to download at once (valid for 24 h), or the pictures themselves in `images`.

    `known_subjects`: profile id to number of appearances, over all outputs.
    """

    urls: list[str]
    images: list[bytes] = field(repr=False)
    known_subjects: dict[str, int]
    request_id: str | None = None
    http_status: int | None = None


def job_id_of(answer: Answer) -> tuple[str, str | None]:
    """Job id and poll URL, as Phota wrote it, of an accepted job. Raise UnreadableAnswer."""
    body = answer.body or {}
    job_id, poll_url = body.get("job_id"), body.get("poll_url")
    if not isinstance(job_id, str) or not job_id:
        raise UnreadableAnswer("the answer names no job_id")
    return job_id, poll_url if isinstance(poll_url, str) and poll_url else None


def results_of(answer: Answer) -> Results:
    """The result of a synchronous call. Raise UnreadableAnswer."""
    if answer.body is None:
        raise UnreadableAnswer("the answer is not JSON")
    return _results(answer.body, answer)


def job_of(answer: Answer) -> Waiting | Results:
    """What a poll says. Raise JobFailed, Rejected, or UnreadableAnswer."""
    body = answer.body
    if body is None:
        if answer.http_status == httpx.codes.ACCEPTED:
            return _waiting(answer)
        raise UnreadableAnswer("the answer is not JSON")
    state = str(body.get("status") or _implied_state(body)).lower()
    if state in FAILED:
        raise job_error(answer, state)
    if state in DONE:
        return _results(_result_of(body), answer)
    return _waiting(answer)


def secret_of(answer: Answer) -> str:
    """The secret that signs callbacks. Raise UnreadableAnswer."""
    body = answer.body or {}
    for name in ("secret", "webhook_secret"):
        if isinstance(body.get(name), str) and body[name]:
            return str(body[name])
    raise UnreadableAnswer("the answer holds no secret")


def _waiting(answer: Answer) -> Waiting:
    return Waiting(answer.retry_after, answer.request_id, answer.http_status)


def _implied_state(body: Mapping[str, Any]) -> str:
    """The state of a job that does not say it."""
    if body.get("error"):
        return "failed"
    result = _result_of(body)
    return "succeeded" if result.get("download_urls") or result.get("images") else "queued"


def _result_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Under `result`, or at top level."""
    result = body.get("result")
    return result if isinstance(result, dict) else body


def _results(body: Mapping[str, Any], answer: Answer) -> Results:
    urls, images = body.get("download_urls") or [], body.get("images") or []
    if not isinstance(urls, list) or not isinstance(images, list) or not all(isinstance(url, str) for url in urls):
        raise UnreadableAnswer("the result holds no list of URLs or images")
    if not urls and not images:
        raise UnreadableAnswer("the result is empty")
    try:
        pictures = [base64.b64decode(image, validate=True) for image in images]
    except (ValueError, TypeError):
        raise UnreadableAnswer("an image of the result is not base64") from None
    return Results(urls, pictures, _known_subjects(body), answer.request_id, answer.http_status)


def _known_subjects(body: Mapping[str, Any]) -> dict[str, int]:
    """Profile id to appearances; null and absent mean nobody."""
    subjects = body.get("known_subjects")
    counts = subjects.get("counts") if isinstance(subjects, dict) else None
    if not isinstance(counts, dict):
        return {}
    return {str(profile): count for profile, count in counts.items() if isinstance(count, int) and count > 0}


def error_of(answer: Answer, call: Call) -> PhotaError:
    """The error that a status other than 2xx means for this kind of call."""
    status = answer.http_status
    about = About(http_status=status, request_id=answer.request_id)
    code, message = _told(answer)
    if status in (429, 503):
        return Throttled(message, code="throttled", retry_after=answer.retry_after, **about)
    if reason := _GATES.get(status):
        return GateClosed(message, code=reason, reason=reason, retry_after=answer.retry_after, **about)
    if call == "poll":
        refusal = _poll_error(status, code, message, about)
    else:
        is_submit = call in ("submit", "call")
        refusal = Rejected(message, code=code, **about) if is_submit and status in _REJECTIONS else None
    is_refunded = call == "call" and status == httpx.codes.GATEWAY_TIMEOUT
    retry_after = answer.retry_after
    return refusal or Uncertain(message, code=code, is_sent=not is_refunded, retry_after=retry_after, **about)


def _poll_error(status: int, code: str, message: str, about: About) -> PhotaError | None:
    """404 and 410: the job is unknown. Other refusals can only be about the job, as a poll carries nothing else."""
    if status in (404, 410):
        return JobLost(message, code="job_lost", **about)
    if status in _REJECTIONS:
        return _job_end(message, code, about)
    return None


def job_error(answer: Answer, state: str) -> PhotaError:
    """The error of a job whose state is one of FAILED."""
    code, text = _code_and_text(answer.body or {})
    message = redact(text or "without a reason", *answer.secrets)
    about = About(http_status=answer.http_status, request_id=answer.request_id)
    return _job_end(f"Phota ended the job as {state}: {message}", code or state, about)


def _job_end(message: str, code: str, about: About) -> PhotaError:
    kind = Rejected if code == MODERATION else JobFailed
    return kind(message, code=code, **about)


def _told(answer: Answer) -> tuple[str, str]:
    """Code and message of an error answer, whatever its body looks like."""
    status = answer.http_status
    code, text = _code_and_text(answer.body or {})
    message = f"Phota answered {status}" + (f": {redact(text, *answer.secrets)}" if text else "")
    return code or _REJECTIONS.get(status) or f"http_{status}", message


def _code_and_text(body: Mapping[str, Any]) -> tuple[str | None, str]:
    """From `{code, detail}`, FastAPI's list in `detail`, or either of them or a text under `error`."""
    nested = body.get("error")
    source: Mapping[str, Any] = nested if isinstance(nested, dict) else body
    detail = source.get("detail") or source.get("message") or (nested if isinstance(nested, str) else "")
    code = source.get("code")
    if isinstance(detail, dict):
        code, detail = code or detail.get("code"), detail.get("message") or detail.get("detail") or ""
    if isinstance(detail, list):
        detail = "; ".join(_field_error(each) for each in detail)
    return _code(code), str(detail)


def _field_error(error: object) -> str:
    """`body.num_output_images: Input should be …`; never FastAPI's `input`, which may be base64."""
    if not isinstance(error, dict):
        return str(error)
    location = error.get("loc")
    names = [str(part) for part in location if part != "body"] if isinstance(location, list) else []
    return ": ".join(filter(None, [".".join(names), str(error.get("msg", "invalid"))]))


def _code(value: object) -> str | None:
    """`CONTENT_MODERATION` is `content_moderation`."""
    return re.sub(r"[^a-z0-9]+", "_", value.lower()).strip("_")[:64] or None if isinstance(value, str) else None
