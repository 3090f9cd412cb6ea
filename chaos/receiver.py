"""A webhook receiver that verifies every call and remembers which events it took.

What it answers can be set for each path: see `Manner`.
"""

import asyncio
import itertools
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from chaos.proxy import Loop

_SAID = {204: "No Content", 410: "Gone", 500: "Internal Server Error", 503: "Service Unavailable"}
_METADATA = "169.254.169.254/latest/meta-data/"
_TRAP = "/trap"  # where a redirect of ours leads
_ENDLESS_S = 60.0
_PIECE = b"8000\r\n" + b"x" * 2**15 + b"\r\n"


class How(StrEnum):
    """A way to answer."""

    PLAIN = "plain"
    REDIRECT_AWAY = "redirected to a metadata address"
    REDIRECT_HERE = "redirected to a place that may be reached"
    ENDLESS_BODY = "an endless body"
    ENDLESS_HEAD = "an endless head"
    DRIP = "a byte a second"
    RESET = "reset before the answer"
    RESET_AFTER = "reset in place of the answer"
    HALF_HEAD = "half a status line"
    HALF_BODY = "half a body"


@dataclass(frozen=True, slots=True)
class Manner:
    """What a path does with a call, after `delay_s`."""

    how: How = How.PLAIN
    status: int = 204
    delay_s: float = 0.0

    @property
    def is_taken(self) -> bool:
        """Whether the receiver has the event then, as far as it knows; others may come again."""
        return self.how in (How.ENDLESS_BODY, How.RESET_AFTER, How.HALF_BODY) or (
            self.how is How.PLAIN and self.status < 300
        )


@dataclass(frozen=True, slots=True)
class Told:
    """An event that was answered with 2xx. `jobs`: ids of the jobs it tells of, with the states told."""

    type: str
    order: int  # of arrival, among all events
    jobs: tuple[tuple[str, str], ...] = ()
    batch: str | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """An address of the default account that is told of every job and batch, of batches opened in this time (Unix)."""

    path: str
    since_s: float = 0.0
    until_s: float = math.inf


@dataclass
class Receiver:
    """Listens on a port of 127.0.0.1. `secrets`: by path, what calls there must be signed with."""

    loop: Loop
    status: int = 204  # what it answers
    delay_s: float = 0.0  # before it answers
    port: int = 0
    calls: int = 0
    forged: int = 0  # calls whose signature did not hold
    changed: int = 0  # events that came again under the same id with another type or subject
    told: dict[tuple[str, str], Told] = field(default_factory=dict)  # by path and webhook-id: the first time
    secrets: dict[str, str] = field(default_factory=dict)
    manners: dict[str, Manner] = field(default_factory=dict)  # by path, in place of `status` and `delay_s`
    trapped: int = 0  # redirects that were followed

    def __post_init__(self) -> None:
        self._order = itertools.count(1)
        self.loop.run(self._listen())

    def close(self) -> None:
        self.loop.run(self._close())

    def complaints(self) -> list[str]:
        """What was wrong with calls since it was last asked."""
        said = {"events came again with another content": self.changed, "calls had no valid signature": self.forged}
        self.changed = self.forged = 0
        return [f"{count} {what}" for what, count in said.items() if count]

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split(" ", 2)[1]
                self.trapped += path == _TRAP
                pairs = (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers["content-length"]))
                manner = self.manners.get(path) or Manner(status=self.status, delay_s=self.delay_s)
                await asyncio.sleep(manner.delay_s)
                if self._take(path, headers, body, is_taken=manner.is_taken):
                    await self._answer(manner, writer)
                else:
                    writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (OSError, RuntimeError, asyncio.IncompleteReadError):
            writer.close()

    async def _answer(self, manner: Manner, writer: asyncio.StreamWriter) -> None:
        """Raise OSError once the caller has gone."""
        match manner.how:
            case How.PLAIN:
                writer.write(f"HTTP/1.1 {manner.status} {_SAID[manner.status]}\r\nContent-Length: 0\r\n\r\n".encode())
                return
            case How.REDIRECT_AWAY | How.REDIRECT_HERE:
                there = f"127.0.0.1:{self.port}{_TRAP}" if manner.how is How.REDIRECT_HERE else _METADATA
                writer.write(f"HTTP/1.1 307 Moved\r\nLocation: http://{there}\r\nContent-Length: 0\r\n\r\n".encode())
                return
            case How.HALF_HEAD:
                writer.write(b"HTTP/1.1 20")
            case How.HALF_BODY:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
            case How.RESET | How.RESET_AFTER:
                writer.transport.abort()
            case _:
                async for piece in _endless(manner.how):
                    writer.write(piece)
                    await writer.drain()
        raise ConnectionResetError

    def _take(self, path: str, headers: dict[str, str], body: bytes, *, is_taken: bool) -> bool:
        """Whether the call is ours to answer as told; one that does not verify is refused."""
        self.calls += 1
        try:
            event = Webhook(self.secrets[path]).verify(body, headers)
        except (KeyError, WebhookVerificationError):
            self.forged += 1
            return False
        if is_taken:
            now = _told(event, next(self._order))
            before = self.told.setdefault((path, headers["webhook-id"]), now)
            self.changed += (before.type, before.jobs, before.batch) != (now.type, now.jobs, now.batch)
        return True


async def _endless(how: How) -> AsyncIterator[bytes]:
    """For a minute: nobody may wait for that long."""
    ends_at = asyncio.get_running_loop().time() + _ENDLESS_S
    yield b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n\r\n" if how is How.ENDLESS_BODY else b"")
    for number in itertools.count():
        if asyncio.get_running_loop().time() > ends_at:
            return
        await asyncio.sleep(1.0 if how is How.DRIP else 0.01)
        yield (
            _PIECE if how is How.ENDLESS_BODY else b"x" if how is How.DRIP else f"X-{number}: {'x' * 4000}\r\n".encode()
        )


def _told(event: dict[str, Any], order: int) -> Told:
    members = event["data"]["jobs"] if event["type"] == "job.digest" else [event]
    jobs = tuple((each["data"]["id"], each["data"]["state"]) for each in members if each["type"].startswith("job."))
    batch = str(event["data"]["id"]) if event["type"].startswith("batch.") else None
    return Told(str(event["type"]), order, jobs, batch)
