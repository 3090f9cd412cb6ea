"""A TCP proxy that a test can make refuse, swallow, cut or slow down what goes through it.

All proxies and receivers of a campaign share one event loop in a thread of its own; the methods here may be called from
any thread.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, TypeVar

import uvloop

T = TypeVar("T")

_PIECE = 2**16  # bytes read at once
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 s: closing sends RST
_COMMIT = b"COMMIT\0"  # the statement as it stands in Postgres' protocol, simple or extended


class Loop:
    """The event loop of a campaign, in a daemon thread."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def run(self, coroutine: Coroutine[Any, Any, T], *, timeout_s: float = 30.0) -> T:
        """Its result, waited for in the calling thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)


class Mode(StrEnum):
    PASS = "pass"
    REFUSE = "refuse"  # nobody listens; what was open is reset
    BLACK_HOLE = "black_hole"  # connections are taken and stay open, nothing gets through until the mode changes
    RESET = "reset"  # each connection is reset after so many bytes that came back; see `Proxy.set`
    THROTTLE = "throttle"  # so many bytes a second and connection


class Commits(StrEnum):
    """What happens to a COMMIT that goes through."""

    LOSE_ANSWER = "lose_answer"  # the server does it, the client is reset instead of told
    LOSE = "lose"  # the connection is reset before the server sees it


@dataclass(eq=False)
class _Link:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    came_back: int = 0  # bytes from the server since the mode was set
    loses_answer: bool = False
    is_half_open: bool = False  # the server's side is gone, the client's stays open and is told nothing

    def cut(self) -> None:
        for writer in (self.client, self.server):
            connection: socket.socket | None = writer.get_extra_info("socket")
            if connection is not None:
                with contextlib.suppress(OSError, ValueError):  # ValueError: closed already
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


@dataclass
class Proxy:
    """From `port` of 127.0.0.1 to `target`, also of 127.0.0.1."""

    loop: Loop
    target: int
    chance: random.Random = field(default_factory=random.Random)
    port: int = 0
    lost_commits: int = 0  # so far
    cuts: int = 0  # connections reset so far

    def __post_init__(self) -> None:
        self._mode = Mode.PASS
        self._limit = 0
        self._commits: tuple[Commits, float] | None = None
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self.loop.run(self._listen())

    def set(self, mode: Mode, *, limit: int = 0) -> None:
        """`limit`: bytes before a RESET, bytes a second of a THROTTLE.

        A RESET counts for each connection from now on, over all answers that come back through it: so many bytes are
        passed on, also of a body sent in one write, and with the next one the connection is cut.
        """
        self.loop.run(self._set(mode, limit))

    @contextlib.contextmanager
    def spell(self, mode: Mode, *, limit: int = 0) -> Iterator[None]:
        """So inside the block, well after it."""
        self.set(mode, limit=limit)
        try:
            yield
        finally:
            self.set(Mode.PASS)

    def cut(self) -> int:
        """Reset every open connection now; how many there were."""
        return self.loop.run(self._cut())

    def half_open(self) -> int:
        """Take every open connection from the server without a word to the client; how many there were."""
        return self.loop.run(self._half_open())

    def disturb_commits(self, what: Commits | None, *, rate: float = 1.0) -> None:
        """From now on this becomes of that share of the COMMITs; None: nothing."""
        self._commits = None if what is None else (what, rate)

    def close(self) -> None:
        self.loop.run(self._close())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=_PIECE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _set(self, mode: Mode, limit: int) -> None:
        self._mode, self._limit = mode, limit
        for link in self._links:
            link.came_back = 0
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if mode is Mode.REFUSE and self._server is not None:
            self._server.close()
            self._server = None
            await self._cut()
        elif mode is not Mode.REFUSE and self._server is None:
            await self._listen()

    async def _cut(self) -> int:
        cut = len(self._links)
        for link in list(self._links):
            link.cut()
        self.cuts += cut
        return cut

    async def _half_open(self) -> int:
        links = [link for link in self._links if not link.is_half_open]
        for link in links:
            link.is_half_open = True
            link.server.transport.abort()
        return len(links)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._pass_hole()
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.target, limit=_PIECE)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, forth)
        self._links.add(link)
        try:
            await asyncio.gather(self._pump(reader, forth, link, is_back=False), self._pump(back, writer, link))
        except (OSError, RuntimeError):  # uvloop says RuntimeError of a connection that is closed
            link.cut()
        finally:
            self._links.discard(link)
            for each in (writer, forth):
                each.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link, *, is_back: bool = True
    ) -> None:
        while data := await reader.read(_PIECE):
            if link.is_half_open:
                continue
            await self._pass_hole()
            passing = self._passing(data, link, is_back=is_back)
            if len(passing) < len(data):
                await _write_out(writer, passing)
                self.cuts += 1
                raise ConnectionResetError
            if self._mode is Mode.THROTTLE:
                await asyncio.sleep(len(data) / self._limit)
            writer.write(data)
            await writer.drain()
        if not writer.is_closing() and not link.is_half_open:
            writer.write_eof()

    async def _pass_hole(self) -> None:
        while self._mode is Mode.BLACK_HOLE:
            await self._changed.wait()

    def _passing(self, data: bytes, link: _Link, *, is_back: bool) -> bytes:
        """What of it is passed on; if that is not all of it, the connection is cut then."""
        if is_back:
            link.came_back += len(data)
            left = self._limit - (link.came_back - len(data)) if self._mode is Mode.RESET else len(data)
            return b"" if link.loses_answer else data[: max(0, left)]
        if self._commits is None or _COMMIT not in data or self.chance.random() >= self._commits[1]:
            return data
        self.lost_commits += 1
        link.loses_answer = True
        return b"" if self._commits[0] is Commits.LOSE else data


async def _write_out(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Until the system has all of it: a reset throws away what still waits in here."""
    if data:
        writer.transport.set_write_buffer_limits(0)
        writer.write(data)
        await writer.drain()
