"""The Phota API in a few verbs. Its errors are drawn in phota_errors.py.

submit ──▶ Handle ──▶ job ──▶ Waiting … Results ──▶ download        asynchronous mode
call ──────────────────────────────▶ Results ──▶ download           synchronous mode
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

import httpx

from clients.apart import apart, weight_of
from clients.http import NETWORK_ERRORS, failure_of, retry_after_seconds
from clients.phota_answers import (
    About,
    Answer,
    Call,
    Handle,
    Results,
    UnreadableAnswer,
    Waiting,
    error_of,
    job_id_of,
    job_of,
    results_of,
    secret_of,
)
from clients.phota_errors import (
    BadResult,
    GateClosed,
    JobFailed,
    JobLost,
    PhotaError,
    Rejected,
    ResultExpired,
    Retryable,
    Throttled,
    Uncertain,
)
from clients.phota_requests import Params

__all__ = [
    "BadResult",
    "GateClosed",
    "Handle",
    "JobFailed",
    "JobLost",
    "PhotaClient",
    "PhotaError",
    "Rejected",
    "ResultExpired",
    "Results",
    "Retryable",
    "Throttled",
    "Uncertain",
    "Waiting",
]

T = TypeVar("T")

# Total deadlines in seconds, beside the timeouts of each read: a body that trickles restarts those.
SUBMIT_SECONDS = 60  # inputs may be inline
ANSWER_SECONDS = 45
DOWNLOAD_SECONDS = 120  # what public clients of the API allow
CALL_SECONDS = 660
CALL_TIMEOUTS = httpx.Timeout(connect=5, read=630, write=30, pool=5)  # Phota ends a synchronous call after 600 s

MAX_ANSWER_BYTES = 64 * 2**20  # four inline pictures; we ask for URLs
MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_EXPIRED = (403, 404, 410)


class PhotaClient:
    """One account at Phota. Every method raises PhotaError, and keeps Phota's request id on what it returns or raises.

    `http` is shared and stays open; `base_url` is the API root, `https://api.photalabs.com/v1/phota`.
    """

    def __init__(self, http: httpx.AsyncClient, *, base_url: str, api_key: str) -> None:
        self._http = http
        self._root = httpx.URL(base_url.rstrip("/") + "/")
        self._api_key = api_key

    async def submit(self, params: Params, *, client_request_id: str, callback_url: str | None = None) -> Handle:
        """Start an asynchronous job. The same `client_request_id` again returns the same job and charges nothing."""
        body = _body(params, client_request_id) | {"async": True}
        if callback_url is not None:
            body["callback_url"] = callback_url
        answer = await self._ask("POST", self._url(params.endpoint), "submit", body=body, within=SUBMIT_SECONDS)
        job_id, poll_url = _read(answer, job_id_of)
        return Handle(job_id, self._poll_url(job_id, poll_url), answer.request_id, answer.http_status)

    async def call(self, params: Params, *, client_request_id: str) -> Results:
        """Run a job synchronously; takes up to eleven minutes."""
        body, url = _body(params, client_request_id), self._url(params.endpoint)
        answer = await self._ask("POST", url, "call", body=body, timeouts=CALL_TIMEOUTS, within=CALL_SECONDS)
        return await apart(weight_of(answer.body), _read, answer, results_of)

    async def job(self, job: Handle | str, *, prompt: str = "") -> Waiting | Results:
        """Ask for a job by its handle, id, or poll URL. A poll URL of another origin is asked for by its id here.

        `prompt`: of the job, which no error quotes then.
        """
        job_id, poll_url = (job.job_id, job.poll_url) if isinstance(job, Handle) else _id_and_url(job)
        url = self._poll_url(job_id, poll_url)
        answer = await self._ask("GET", url, "poll", within=ANSWER_SECONDS, prompt=prompt)
        if (told := (answer.body or {}).get("job_id", job_id)) != job_id:
            about = About(http_status=answer.http_status, request_id=answer.request_id)
            raise BadResult(f"asked for job {job_id}, got {told}", code="wrong_job", **about)
        return await apart(weight_of(answer.body), _read, answer, job_of)

    async def check_key(self) -> None:
        """Nothing, if Phota takes the key. Raise GateClosed if it does not. Free of charge: it lists profiles."""
        await self._ask("GET", self._url("/profiles/ids"), "other", within=ANSWER_SECONDS)

    async def webhook_secret(self) -> str:
        """The secret with which Phota signs its callbacks, one an account."""
        answer = await self._ask("GET", self._url("/webhook-secret"), "other", within=ANSWER_SECONDS)
        return _read(answer, secret_of)

    async def download(self, url: str, *, max_bytes: int) -> bytes:
        """A result, complete and not empty. The API key is never sent along.

        Raise ResultExpired, BadResult, Throttled, or Uncertain.
        """
        try:
            async with asyncio.timeout(DOWNLOAD_SECONDS):
                return await self._download(url, max_bytes)
        except NETWORK_ERRORS as error:
            raise _lost(error, None) from None

    async def _download(self, url: str, max_bytes: int) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            async with self._http.stream(
                "GET", url, headers={"Accept-Encoding": "identity"}, follow_redirects=False
            ) as response:
                if response.status_code not in _REDIRECTS:
                    return await _picture(response, max_bytes)
                url = _next_hop(response)
        raise BadResult("the result is redirected too often", code="too_many_redirects")

    async def _ask(
        self,
        method: str,
        url: httpx.URL | str,
        call: Call,
        *,
        within: float,
        body: Mapping[str, Any] | None = None,
        timeouts: httpx.Timeout | None = None,
        prompt: str = "",
    ) -> Answer:
        """The answer of a call to the API itself, if it is a 2xx. `within`: seconds for all of it."""
        headers = {"X-API-Key": self._api_key, "Accept": "application/json", "Content-Type": "application/json"}
        content = None if body is None else await apart(weight_of(body), _json, body)
        timeout = timeouts or self._http.timeout
        request = self._http.build_request(method, url, headers=headers, content=content, timeout=timeout)
        secrets = (self._api_key, prompt or str((body or {}).get("prompt") or ""))
        response = None
        try:
            async with asyncio.timeout(within):
                response = await self._http.send(request, stream=True, follow_redirects=False)
                content = await _content(response)
                answer = await apart(len(content), Answer.of, response, content, secrets=secrets)
        except NETWORK_ERRORS as error:
            raise _lost(error, response) from None
        if not response.is_success:
            raise error_of(answer, call)
        return answer

    def _url(self, path: str) -> httpx.URL:
        return self._root.join(path.lstrip("/"))

    def _poll_url(self, job_id: str, told: str | None) -> str:
        """Where to ask for a job, on the API's own origin, since the key goes there."""
        known = self._url("jobs/" + quote(job_id, safe=""))
        try:
            url = self._root.join(told) if told else known
        except httpx.InvalidURL:
            url = known
        return str(url if _origin(url) == _origin(self._root) else known)


def _body(params: Params, client_request_id: str) -> dict[str, Any]:
    return params.body() | {"response_mode": "urls", "client_request_id": client_request_id}


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode()


def _id_and_url(job: str) -> tuple[str, str | None]:
    if "/" not in job:
        return job, None
    return unquote(urlsplit(job).path.rstrip("/").rpartition("/")[2]), job


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


async def _content(response: httpx.Response) -> bytes:
    """The body; empty if that of an error breaks off, since its status says enough."""
    content = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise httpx.DecodingError("the answer is too large")
    except NETWORK_ERRORS:
        if response.is_success:
            raise
    finally:
        await response.aclose()
    return bytes(content)


def _read(answer: Answer, reader: Callable[[Answer], T]) -> T:
    try:
        return reader(answer)
    except UnreadableAnswer as error:
        about = About(http_status=answer.http_status, request_id=answer.request_id)
        raise Uncertain(str(error), code="unreadable_answer", **about) from None


def _lost(error: BaseException, response: httpx.Response | None) -> Uncertain:
    """What a call that ended without an answer means."""
    code = failure_of(error)
    cause = error.__cause__ or error
    request_id = None if response is None else response.headers.get("x-request-id")
    return Uncertain(
        f"no answer from Phota: {code.replace('_', ' ')} ({type(cause).__name__}: {cause})",
        code=code,
        http_status=None if response is None else response.status_code,
        request_id=request_id,
        is_sent=code != "connect_failed",
    )


def _next_hop(response: httpx.Response) -> str:
    """Where a redirect leads, if it is http(s)."""
    try:
        url = response.url.join(response.headers.get("location", ""))
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise BadResult("the result is redirected to nowhere", code="bad_redirect", http_status=response.status_code)
    return str(url)


async def _picture(response: httpx.Response, max_bytes: int) -> bytes:
    """The body of a download, if the whole of it came."""
    about = About(http_status=response.status_code, request_id=response.headers.get("x-request-id"))
    _check_download(response, about)
    announced = response.headers.get("content-length", "")
    content = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > max_bytes:
                raise BadResult(f"the result has more than {max_bytes} bytes", code="result_too_large", **about)
    except (httpx.ReadError, httpx.ProtocolError) as error:
        raise BadResult(f"the result broke off after {len(content)} bytes", code="wrong_length", **about) from error
    came = response.num_bytes_downloaded if "content-encoding" in response.headers else len(content)
    if announced.isdecimal() and int(announced) != came:
        raise BadResult(f"{came} bytes came, {announced} were announced", code="wrong_length", **about)
    if not content:
        raise BadResult("the result is empty", code="empty_result", **about)
    return bytes(content)


def _check_download(response: httpx.Response, about: About) -> None:
    status = response.status_code
    message, retry_after = f"the download answered {status}", retry_after_seconds(response.headers)
    if status in _EXPIRED:
        raise ResultExpired(message, code="result_expired", **about)
    if status in (429, 503):
        raise Throttled(message, code="throttled", retry_after=retry_after, **about)
    if status != httpx.codes.OK:
        raise Uncertain(message, code=f"http_{status}", retry_after=retry_after, **about)
