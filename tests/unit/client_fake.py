"""A photabatch API that answers by script, and both clients before it, the asynchronous one made to block."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast

import httpx
import pytest

from photabatch import AsyncClient, Client, Retry

URL = "https://api.example.com/photabatch"
KEY = "pb_secret-canary"
AT_ONCE = Retry(base_s=0)  # the same tries without pauses

BATCH: dict[str, Any] = {
    "id": "b1",
    "name": "trip",
    "status": "running",
    "paused_reason": None,
    "counts": {"queued": 1, "succeeded": 2, "total": 3, "frozen": 0},
    "cost_usd": {"estimated": 0.3, "reserved": 0.1, "spent": 0.2},
    "budget_usd": 1.1,
    "eta": None,
    "errors": [{"code": "timeout", "message": "m", "count": 4}],
    "metadata": {"shoot": "7"},
    "created_at": "2026-05-01T12:00:00+00:00",
}
DONE = BATCH | {"status": "completed", "finished_at": "2026-05-01T12:01:00+00:00"}
SUBMITTED = BATCH | {"accepted": 3, "existing": 0, "invalid": 0, "status_url": "/v1/batches/b1"}
ESTIMATED = {"jobs": 1, "invalid": 0, "cost_usd": {"low": 0.1, "high": 0.12}, "warnings": []}
UPLOADED = {"image": "s3://photabatch/inputs/a.jpg", "sha256": "0", "bytes": 1, "width": 1, "height": 1}


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A streamed body: bytes are sent, errors are raised; `sent` counts what was asked for so far."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces
        self.sent = 0
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.sent += 1
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.is_closed = True

    async def aclose(self) -> None:
        self.is_closed = True


@dataclass
class Seen:
    """A request as it arrived; `pieces`: how its body was cut."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: httpx.Headers
    pieces: list[bytes] = field(default_factory=list)
    timeouts: dict[str, float | None] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = httpx.Response | Exception | dict[str, Any]
Answerer = Callable[[Seen], Answer]


class FakeApi(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers in turn, or by a function. An error is raised in place of an answer, before the body if it says so."""

    def __init__(self, *answers: Answer, by: Answerer | None = None) -> None:
        self._answers = list(answers)
        self._by = by
        self.seen: list[Seen] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        seen = self._arrived(request)
        if not self._is_refused():
            assert isinstance(request.stream, httpx.SyncByteStream)
            seen.pieces.extend(request.stream)
        return self._answer(seen)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        seen = self._arrived(request)
        if not self._is_refused():
            assert isinstance(request.stream, httpx.AsyncByteStream)
            seen.pieces.extend([piece async for piece in request.stream])
        await asyncio.sleep(0)
        return self._answer(seen)

    def _arrived(self, request: httpx.Request) -> Seen:
        url = request.url
        path = url.path.removeprefix("/photabatch")
        timeouts = request.extensions["timeout"]
        self.seen.append(Seen(request.method, path, url.params.multi_items(), request.headers, timeouts=timeouts))
        return self.seen[-1]

    def _is_refused(self) -> bool:
        return bool(self._answers) and isinstance(self._answers[0], httpx.ConnectError)

    def _answer(self, seen: Seen) -> httpx.Response:
        answer = self._by(seen) if self._by else self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(200, json=answer) if isinstance(answer, dict) else _fresh(answer)


def _fresh(answer: httpx.Response) -> httpx.Response:
    """One that no client has read yet, unless its body is streamed anyway."""
    try:
        content = Pieces(answer.content)
    except httpx.ResponseNotRead:
        return answer
    return httpx.Response(answer.status_code, headers=answer.headers, stream=content)


class Blocking:
    """An AsyncClient that is called like a Client."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            returned = getattr(self._client, name)(*arguments, **options)
            return self._drawn(returned) if isinstance(returned, AsyncIterator) else self._runner.run(returned)

        return call

    def _drawn(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        async def draw() -> list[Any]:
            return [item async for item in _one(items)]

        while drawn := self._runner.run(draw()):
            yield from drawn


async def _one(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for item in items:
        yield item
        return


Connect = Callable[..., Client]


def blocking(api: FakeApi, *, files: FakeApi | None = None, retry: Retry = AT_ONCE, **options: Any) -> Client:
    other = files or FakeApi()
    clients = (httpx.Client(transport=api), httpx.Client(transport=other))
    return Client(URL, KEY, http=clients[0], files=clients[1], retry=retry, **options)


def asynchronous(api: FakeApi, *, files: FakeApi | None = None, retry: Retry = AT_ONCE, **options: Any) -> Client:
    other = files or FakeApi()
    clients = (httpx.AsyncClient(transport=api), httpx.AsyncClient(transport=other))
    return cast(Client, Blocking(AsyncClient(URL, KEY, http=clients[0], files=clients[1], retry=retry, **options)))


both = pytest.mark.parametrize("connect", [blocking, asynchronous], ids=["blocking", "asynchronous"])


def problem(status: int, code: str, detail: str = "Do this.", **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail, **more}
    return httpx.Response(status, json=body, headers=headers)


def keys_of(seen: Sequence[Seen]) -> list[str]:
    return [each.headers["idempotency-key"] for each in seen]
