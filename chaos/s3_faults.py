"""A relay before S3 that speaks enough HTTP to answer, cut or falsify single requests.

It passes on what it gets byte by byte, Host and signature with it; every answer closes its connection.
"""

import asyncio
import contextlib
import hashlib
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import unquote, urlsplit

from chaos.proxy import Loop
from chaos.world import World
from clients.s3_client import new_s3_client

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 s: closing sends RST
_METADATA = "x-amz-meta-"


class Fault(StrEnum):
    """What becomes of a PUT."""

    INTERNAL = "500 InternalError"
    SLOW_DOWN = "503 SlowDown"
    CONFLICT = "409 ConditionalRequestConflict"
    TAKEN = "412 PreconditionFailed"  # though the key is free
    CUT = "reset in mid-PUT"
    CUT_AFTER = "reset after it was stored"
    SILENT = "no answer, nothing stored"
    SILENT_AFTER = "no answer, though stored"
    HALF = "200 with the ETag of all, half of it stored"
    HALF_TOLD = "200 with the ETag of the half that was stored"


@dataclass
class Relay:
    """From `port` to `target`, both of 127.0.0.1. A fault strikes a share of the PUTs, so many `times` at most."""

    world: World
    target: int
    port: int = 0
    struck: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._fault: Fault | None = None
        self._rate, self._left, self._seconds = 0.0, 0, 0.0
        self._s3: Any = new_s3_client(
            self.world.services["PHOTABATCH_S3_ENDPOINT_URL"], addressing="path", max_connections=4, region=None
        )
        self._loop: Loop = self.world.loop
        self._loop.run(self._listen())

    def strike(self, fault: Fault | None, *, rate: float = 1.0, times: int = 0, seconds: float = 0.0) -> None:
        """`seconds`: how long it is silent. None: pass everything on."""
        self._fault, self._rate, self._left, self._seconds = fault, rate, times, seconds

    def close(self) -> None:
        self._loop.run(self._close())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, RuntimeError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            headers = _headers(head)
            size = int(headers.get("content-length", 0))
            fault = self._pick(head)
            if fault is Fault.CUT:
                await reader.readexactly(size // 2)
                _reset(writer)
            else:
                await self._answer(fault, head, headers, await reader.readexactly(size), writer)
        writer.close()

    def _pick(self, head: bytes) -> Fault | None:
        is_struck = self._left > 0 and head.startswith(b"PUT ") and self.world.chance.random() < self._rate
        if not is_struck or self._fault is None:
            return None
        self._left -= 1
        self.struck[self._fault.value] += 1
        return self._fault

    async def _answer(
        self, fault: Fault | None, head: bytes, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> None:
        match fault:
            case None:
                await self._pass_on(head, body, writer)
            case Fault.CUT_AFTER | Fault.SILENT_AFTER:
                await self._pass_on(head, body, None)
                await asyncio.sleep(self._seconds if fault is Fault.SILENT_AFTER else 0)
                _reset(writer)
            case Fault.SILENT:
                await asyncio.sleep(self._seconds)
                _reset(writer)
            case Fault.HALF | Fault.HALF_TOLD:
                half = body[: len(body) // 2]
                await asyncio.to_thread(self._store, head, headers, half)
                etag = hashlib.md5(body if fault is Fault.HALF else half, usedforsecurity=False).hexdigest()
                writer.write(f'HTTP/1.1 200 OK\r\nETag: "{etag}"\r\n{_END}Content-Length: 0\r\n\r\n'.encode())
            case _:
                status, _, code = fault.value.partition(" ")
                text = f"<Error><Code>{code}</Code><Message>made to</Message></Error>"
                start = f"HTTP/1.1 {status} {code}\r\n{_END}Content-Type: application/xml\r\n"
                writer.write(f"{start}Content-Length: {len(text)}\r\n\r\n{text}".encode())

    async def _pass_on(self, head: bytes, body: bytes, writer: asyncio.StreamWriter | None) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self.target)
        line, _, rest = head.partition(b"\r\n")
        forth.write(line + b"\r\n" + _END.encode() + rest + body)
        while data := await back.read(2**16):
            if writer is not None:
                writer.write(data)
                await writer.drain()
        forth.close()

    def _store(self, head: bytes, headers: dict[str, str], data: bytes) -> None:
        """As a server that lost the rest on its way to the disk: under the key, with the metadata of all of it."""
        bucket, _, key = unquote(urlsplit(head.split(b" ")[1].decode()).path).lstrip("/").partition("/")
        metadata = {
            name.removeprefix(_METADATA): value for name, value in headers.items() if name.startswith(_METADATA)
        }
        self._s3.put_object(Bucket=bucket, Key=key, Body=data, ContentType=headers["content-type"], Metadata=metadata)


_END = "Connection: close\r\n"


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
    return {name.lower(): value for name, value in pairs}


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and not writer.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@contextmanager
def relayed(world: World) -> Iterator[Relay]:
    """What the processes send to S3 goes through a relay inside the block."""
    wire = world.wires.s3
    relay = Relay(world, wire.target)
    wire.target = relay.port
    wire.cut()
    try:
        yield relay
    finally:
        relay.strike(None)
        wire.target = relay.target
        wire.cut()
        relay.close()
