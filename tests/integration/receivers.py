"""Webhook receivers on loopback, and a worker's notify stage run in the test's own process."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from sqlalchemy import Engine

from clients.http import new_http_client
from clients.storage import Storage
from models.engine import new_async_engine
from tests.integration.outbox_events import look, make_due, take_due
from worker.kit import Kit
from worker.notify import CONNECTIONS, Pumps
from worker.sightings import Sightings


@dataclass(frozen=True, slots=True)
class Call:
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event


Answer = Callable[[Call], Awaitable[bytes] | bytes]  # the status line and headers, or all of it


def status(code: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {code} Said", *headers, "Content-Length: 0", "", ""]).encode()


@dataclass
class Receiver:
    """One URL. Notes every call, and how many it was answering at once at most."""

    answer: Answer = field(default=lambda _: status(204))
    calls: list[Call] = field(default_factory=list)
    taken: list[Call] = field(default_factory=list)  # those it answered with 2xx
    in_flight: int = 0
    most_in_flight: int = 0
    path: str = "/hook"
    url: str = ""

    @property
    def ids(self) -> list[str]:
        return [call.id for call in self.taken]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self.path}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while call := await _read(reader):
                self.calls.append(call)
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    said = self.answer(call)
                    answer = said if isinstance(said, bytes) else await said
                finally:
                    self.in_flight -= 1
                if answer.startswith(b"HTTP/1.1 2"):
                    self.taken.append(call)
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Call | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    pairs = (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    return Call(headers, await reader.readexactly(int(headers["content-length"])))


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  what is waited for tells nobody
        await asyncio.sleep(0.002)


class Notifier:
    """What a dispatcher and a worker do to deliveries, tick by tick."""

    def __init__(self, engine: Engine, pumps: Pumps) -> None:
        self._engine = engine
        self.pumps = pumps

    async def tick(self) -> list[uuid.UUID]:
        """Dispatch what is due, and begin with it."""
        ids = await asyncio.to_thread(take_due, self._engine)
        await self.pumps.start(ids)
        return ids

    async def rest(self) -> None:
        """Until no endpoint is in hand."""
        await until(lambda: not len(self.pumps))

    async def deliver(self) -> None:
        """What is due now, to its end."""
        while await self.tick():
            await self.rest()

    async def deliver_all(self) -> None:
        """To the last event, however often it has to be tried; time is moved, not waited for."""
        while look(self._engine, "SELECT FROM deliveries WHERE state = 'pending' LIMIT 1"):
            await asyncio.to_thread(make_due, self._engine)
            await self.tick()
            await self.rest()


@asynccontextmanager
async def notifier(
    engine: Engine, *receivers: Receiver, most: int = 256, failpoint: str | None = None, timeout_s: float = 30.0
) -> AsyncIterator[Notifier]:
    """A worker's notify stage on this database, and the receivers listening."""
    pool = new_async_engine(engine.url.render_as_string(hide_password=False), connections=4)
    async with AsyncExitStack() as stack:
        for receiver in receivers:
            await stack.enter_async_context(receiver)
        timeouts = httpx.Timeout(timeout_s)
        http = new_http_client(connections=CONNECTIONS, timeouts=timeouts, allowed_hosts=["127.0.0.1"])
        await stack.enter_async_context(http)
        stack.push_async_callback(pool.dispose)
        notifier = Notifier(engine, Pumps(pool, new_kit(http, Sightings(pool), failpoint), most=most))
        stack.push_async_callback(notifier.pumps.stop, patience_s=0)
        yield notifier


def new_kit(http: httpx.AsyncClient, sightings: Sightings, failpoint: str | None) -> Kit:
    nothing: Any = None
    return Kit(
        phota=nothing,
        storage=Storage(endpoint_url="http://127.0.0.1:1"),  # links are signed without asking it
        webhooks=http,
        inspector=nothing,
        sightings=sightings,
        is_sync=False,
        spare_bucket="photabatch",
        sends_links=True,
        failpoint=failpoint,
    )


def through(engine: Engine, *receivers: Receiver, work: Callable[[Notifier], Awaitable[Any]], **how: Any) -> None:
    async def run() -> None:
        async with notifier(engine, *receivers, **how) as notify:
            await work(notify)

    asyncio.run(run())
