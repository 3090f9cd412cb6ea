"""What each answer of Phota means, and what never leaves with a request or a message."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from clients.http import new_http_client, retry_after_seconds
from clients.phota import (
    BadResult,
    GateClosed,
    Handle,
    JobFailed,
    JobLost,
    PhotaClient,
    PhotaError,
    Rejected,
    ResultExpired,
    Results,
    Throttled,
    Uncertain,
    Waiting,
)
from clients.phota_errors import redact
from clients.phota_requests import validate

ROOT = "https://api.example.com/v1/phota"
KEY = "pk-secret-canary"
EDIT = validate("edit", {"prompt": "warmer", "images": ["https://example.com/a.jpg"]})

Answerer = Callable[[httpx.Request], httpx.Response]


def client(answer: httpx.Response | Answerer, root: str = ROOT) -> PhotaClient:
    handler = answer if callable(answer) else lambda _: answer
    return PhotaClient(httpx.AsyncClient(transport=httpx.MockTransport(handler)), base_url=root, api_key=KEY)


def submit(answer: httpx.Response | Answerer) -> Handle:
    return asyncio.run(client(answer).submit(EDIT, client_request_id="r-1"))


def job(body: Any, status: int = 200, job: Handle | str = "j1", **headers: str) -> Waiting | Results:
    return asyncio.run(client(httpx.Response(status, json=body, headers=headers)).job(job))


def download(answer: httpx.Response | Answerer, max_bytes: int = 100) -> bytes:
    return asyncio.run(client(answer).download("https://cdn.example.com/o.jpg?sig=x", max_bytes=max_bytes))


def test_submitting_asks_for_an_asynchronous_job_with_urls() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(202, json={"job_id": "j1"}, headers={"X-Request-Id": "req-9"})

    assert submit(answer) == Handle("j1", ROOT + "/jobs/j1", "req-9", 202)
    body = json.loads(seen[0].content)
    assert (str(seen[0].url), seen[0].headers["x-api-key"]) == (ROOT + "/edit", KEY)
    assert body == EDIT.body() | {"async": True, "response_mode": "urls", "client_request_id": "r-1"}


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        ("/v1/phota/jobs/j1?v=2", ROOT + "/jobs/j1?v=2"),
        (ROOT + "/jobs/j1", ROOT + "/jobs/j1"),
        ("https://evil.example/jobs/j1", ROOT + "/jobs/j1"),
        ("http://api.example.com/v1/phota/jobs/j1", ROOT + "/jobs/j1"),
        ("https://api.example.com:bad/", ROOT + "/jobs/j1"),
        (None, ROOT + "/jobs/j1"),
    ],
)
def test_the_key_goes_to_the_apis_own_origin_only(told: str | None, asked: str) -> None:
    assert submit(httpx.Response(202, json={"job_id": "j1", "poll_url": told})).poll_url == asked
    seen: list[str] = []
    api = client(lambda request: seen.append(str(request.url)) or httpx.Response(200, json={"status": "queued"}))
    asyncio.run(api.job(Handle("j1", told or "")))
    assert seen == [asked]


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, {"code": "CONTENT_MODERATION", "detail": "blocked"}, Rejected, "content_moderation"),
        (400, {"detail": "bad"}, Rejected, "bad_request"),
        (404, {"code": "PROFILE_NOT_FOUND"}, Rejected, "profile_not_found"),
        (409, {}, Rejected, "conflict"),
        (413, "<html>too big</html>", Rejected, "too_large"),
        (422, {"detail": [{"loc": ["body", "prompt"], "msg": "required"}]}, Rejected, "invalid_request"),
        (401, {"detail": "no"}, GateClosed, "bad_key"),
        (402, "", GateClosed, "no_credit"),
        (403, None, GateClosed, "forbidden"),
        (429, "slow down", Throttled, "throttled"),
        (503, {"code": "BUSY"}, Throttled, "throttled"),
        (500, {"code": "INTERNAL"}, Uncertain, "internal"),
        (502, "<html>Bad Gateway</html>", Uncertain, "http_502"),
        (504, "", Uncertain, "http_504"),
        (302, "", Uncertain, "http_302"),
        (202, "<html>", Uncertain, "unreadable_answer"),
        (202, {"status": "queued"}, Uncertain, "unreadable_answer"),
        (202, [], Uncertain, "unreadable_answer"),
    ],
)
def test_an_answer_to_submit_says_what_to_do(status: int, body: Any, kind: type[PhotaError], code: str) -> None:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    with pytest.raises(kind) as caught:
        submit(httpx.Response(status, content=content, headers={"X-Request-Id": "req-9"}))
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.http_status, caught.value.request_id) == (code, status, "req-9")


def test_fastapis_list_is_flattened_without_its_input() -> None:
    detail = [{"loc": ["body", "images", 0], "msg": "not a URL", "input": "A" * 90}, {"msg": "worse"}]
    with pytest.raises(Rejected, match=r"^Phota answered 422: images\.0: not a URL; worse$"):
        submit(httpx.Response(422, json={"detail": detail}))


def test_a_message_holds_no_secret_and_is_short() -> None:
    leak = f"key {KEY} at https://u:p@s3.example/a.jpg?X-Amz-Signature=abc saw {'QUJD' * 50} " + "so long " * 99
    with pytest.raises(Rejected) as caught:
        submit(httpx.Response(400, json={"code": "BAD", "detail": leak}))
    message = str(caught.value)
    assert not [part for part in (KEY, "abc", "u:p", "QUJD") if part in message]
    assert "https://s3.example/a.jpg?[query] saw [base64] so long" in message
    assert len(message) <= 500


def test_retry_after_is_kept() -> None:
    with pytest.raises(Throttled) as caught:
        submit(httpx.Response(429, headers={"Retry-After": "12"}))
    assert caught.value.retry_after == 12


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("1e99", 86_400),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    now = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
    assert retry_after_seconds({"retry-after": value}, now=now) == seconds


def test_a_date_is_meant_by_the_clock_of_the_server() -> None:
    told = {"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:20 GMT"}
    assert retry_after_seconds(told, now=datetime(2026, 10, 21, 6, 28, tzinfo=UTC)) == 10


@pytest.mark.parametrize("state", ["queued", "RUNNING", "In_Progress", "teapot", None])
def test_an_unfinished_job_waits(state: str | None) -> None:
    assert job({"job_id": "j1", "status": state}, **{"retry-after": "4"}) == Waiting(4, None, 200)


RESULT = {"download_urls": ["https://cdn/1"], "images": [], "known_subjects": {"counts": {"p": 2, "q": 0}}}


@pytest.mark.parametrize(
    "body", [{"status": "SUCCEEDED", "result": RESULT}, {"status": "done", **RESULT}, RESULT, {"result": RESULT}]
)
def test_results_are_found_wherever_they_stand(body: dict[str, Any]) -> None:
    assert job(body, **{"x-request-id": "req-9"}) == Results(["https://cdn/1"], [], {"p": 2}, "req-9", 200)


def test_nobody_known_may_be_null() -> None:
    found = job({"status": "success", "result": {**RESULT, "known_subjects": None}})
    assert isinstance(found, Results)
    assert found.known_subjects == {}


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ({"code": "CONTENT_MODERATION", "detail": "no"}, Rejected, "content_moderation"),
        ({"code": "OOM", "message": "gpu"}, JobFailed, "oom"),
        ("it broke", JobFailed, "failed"),
        (None, JobFailed, "failed"),
    ],
)
def test_a_failed_job_says_why(error: Any, kind: type[PhotaError], code: str) -> None:
    with pytest.raises(kind) as caught:
        job({"status": "Failed", "error": error})
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("status", "kind"), [(404, JobLost), (410, JobLost), (422, JobFailed), (401, GateClosed), (500, Uncertain)]
)
def test_a_refused_poll_is_not_a_rejected_job(status: int, kind: type[PhotaError]) -> None:
    with pytest.raises(kind) as caught:
        job({"detail": "x"}, status)
    assert type(caught.value) is kind


def test_the_answer_about_another_job_is_not_taken() -> None:
    with pytest.raises(BadResult) as caught:
        job({"job_id": "j2", "status": "done", **RESULT})
    assert caught.value.code == "wrong_job"


@pytest.mark.parametrize(
    "body", [{"status": "done"}, {"status": "done", "result": {"images": ["?"]}}, {"status": "done", "images": 3}]
)
def test_an_unreadable_result_is_asked_for_again(body: dict[str, Any]) -> None:
    with pytest.raises(Uncertain) as caught:
        job(body)
    assert caught.value.code == "unreadable_answer"


def test_a_synchronous_call_returns_its_pictures() -> None:
    body = {"images": [base64.b64encode(b"jpeg").decode()], "download_urls": []}
    api = client(httpx.Response(200, json=body))
    assert asyncio.run(api.call(EDIT, client_request_id="r")).images == [b"jpeg"]


@pytest.mark.parametrize(("status", "is_sent"), [(504, False), (502, True)])
def test_a_synchronous_504_was_refunded(status: int, is_sent: bool) -> None:
    with pytest.raises(Uncertain) as caught:
        asyncio.run(client(httpx.Response(status)).call(EDIT, client_request_id="r"))
    assert caught.value.is_sent is is_sent


def test_a_download_never_carries_the_key() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        hops = {"cdn.example.com": "//other.example/o", "other.example": ROOT + "/o"}
        if to := hops.get(request.url.host):
            return httpx.Response(302, headers={"Location": to})
        return httpx.Response(200, content=b"jpeg")

    assert download(answer) == b"jpeg"
    assert len(seen) == 3
    assert not any(KEY in str(request.headers.raw) for request in seen)


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (httpx.Response(403), ResultExpired, "result_expired"),
        (httpx.Response(410), ResultExpired, "result_expired"),
        (httpx.Response(503), Throttled, "throttled"),
        (httpx.Response(500), Uncertain, "http_500"),
        (httpx.Response(206, content=b"x"), Uncertain, "http_206"),
        (httpx.Response(200, content=b""), BadResult, "empty_result"),
        (httpx.Response(200, content=b"x" * 101), BadResult, "result_too_large"),
        (httpx.Response(200, content=b"x", headers={"Content-Length": "9"}), BadResult, "wrong_length"),
        (httpx.Response(302, headers={"Location": "/o.jpg"}), BadResult, "too_many_redirects"),
        (httpx.Response(302, headers={"Location": "file:///etc/passwd"}), BadResult, "bad_redirect"),
        (httpx.Response(302), BadResult, "too_many_redirects"),
    ],
)
def test_a_bad_download_says_what_to_do(answer: httpx.Response, kind: type[PhotaError], code: str) -> None:
    with pytest.raises(kind) as caught:
        download(answer)
    assert (type(caught.value), caught.value.code) == (kind, code)


def test_a_job_is_asked_for_by_id_or_poll_url() -> None:
    for asked in ("j1", "/v1/phota/jobs/j1?v=2", "https://old.example/jobs/j1/"):
        assert job({"job_id": "j1", "status": "queued"}, job=asked) == Waiting(None, None, 200)


def test_a_key_can_be_checked_for_nothing() -> None:
    asyncio.run(client(httpx.Response(200, json={"profiles": []})).check_key())
    with pytest.raises(GateClosed):
        asyncio.run(client(httpx.Response(401)).check_key())


def test_the_webhook_secret_is_read() -> None:
    assert asyncio.run(client(httpx.Response(200, json={"secret": "s3"})).webhook_secret()) == "s3"


Connection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(connection: Connection) -> AsyncIterator[str]:
    """A TCP server that answers every connection as told; its URL."""
    listening = await asyncio.start_server(connection, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


def raw(answer: bytes, *, stall: bool = False) -> Connection:
    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if stall:
            await reader.read()
        writer.close()

    return connection


def over_the_wire(connection: Connection, use: Callable[[PhotaClient], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        timeouts = httpx.Timeout(0.3)
        async with server(connection) as url, new_http_client(connections=2, timeouts=timeouts) as http:
            return await use(PhotaClient(http, base_url=url, api_key=KEY))

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "connection_lost"),
        (b"HTTP/1.1 202 OK\r\nContent-Length: 99\r\n\r\n{", "connection_lost"),
        (b"HTTP/1.1 202 OK\r\nX: \0\r\n\r\n", "connection_lost"),
    ],
)
def test_a_connection_that_broke_after_sending_is_uncertain(answer: bytes, code: str) -> None:
    with pytest.raises(Uncertain) as caught:
        over_the_wire(raw(answer), lambda api: api.submit(EDIT, client_request_id="r"))
    assert (caught.value.code, caught.value.is_sent) == (code, True)


def test_a_refused_connection_was_never_sent() -> None:
    async def run() -> Handle:
        async with server(raw(b"")) as url:
            pass
        async with new_http_client(connections=1) as http:
            return await PhotaClient(http, base_url=url, api_key=KEY).submit(EDIT, client_request_id="r")

    with pytest.raises(Uncertain) as caught:
        asyncio.run(run())
    assert (caught.value.code, caught.value.is_sent) == ("connect_failed", False)


def test_an_error_whose_body_breaks_off_still_counts() -> None:
    with pytest.raises(Throttled):
        over_the_wire(
            raw(b"HTTP/1.1 429 Slow\r\nContent-Length: 99\r\n\r\n{"),
            lambda api: api.submit(EDIT, client_request_id="r"),
        )


def test_a_download_that_breaks_off_is_no_result() -> None:
    answer = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\njpeg")
    with pytest.raises(BadResult) as caught:
        over_the_wire(answer, lambda api: api.download(str(api._root), max_bytes=999))
    assert caught.value.code == "wrong_length"


def test_a_signed_query_arrives_as_it_was_signed() -> None:
    seen: list[bytes] = []

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n"))
        await raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\njpeg")(reader, writer)

    query = "/a%2Fb%20c?X-Amz-Credential=K%2F2026%2Fs3&sig=a%2Bb%3D%7E&y=a+b"
    over_the_wire(connection, lambda api: api.download(f"{api._root}"[:-1] + query, max_bytes=9))
    assert seen == [f"GET {query} HTTP/1.1\r\n".encode()]


def test_private_addresses_are_for_whom_the_operator_allowed() -> None:
    async def run(allowed: list[str], host: str) -> bytes:
        answer = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\njpeg")
        async with server(answer) as url, new_http_client(connections=1, allowed_hosts=allowed) as http:
            api = PhotaClient(http, base_url=ROOT, api_key=KEY)
            return await api.download(url.replace("127.0.0.1", host), max_bytes=9)

    assert asyncio.run(run(["127.0.0.0/8"], "127.0.0.1")) == b"jpeg"
    assert asyncio.run(run(["localhost"], "localhost")) == b"jpeg"
    for host in ("127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"):
        with pytest.raises(Uncertain) as caught:
            asyncio.run(run([], host))
        assert caught.value.code == "connect_failed"


def test_redacting_keeps_ordinary_words() -> None:
    assert (
        redact("images.0: see https://a.example/x and try\nagain") == "images.0: see https://a.example/x and try again"
    )
