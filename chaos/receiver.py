"""A webhook receiver that verifies every call and remembers which events it took."""

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from chaos.proxy import Loop

_SAID = {204: "No Content", 410: "Gone", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Told:
    """An event that was answered with 2xx. `jobs`: ids of the jobs it tells of, with the states told."""

    type: str
    order: int  # of arrival, among all events
    jobs: tuple[tuple[str, str], ...] = ()
    batch: str | None = None


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

    def __post_init__(self) -> None:
        self._order = itertools.count(1)
        self.loop.run(self._listen())

    def close(self) -> None:
        self.loop.run(self._close())

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
                pairs = (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers["content-length"]))
                status = self.status
                await asyncio.sleep(self.delay_s)
                if self._take(path, headers, body, is_taken=status < 300):
                    writer.write(f"HTTP/1.1 {status} {_SAID[status]}\r\nContent-Length: 0\r\n\r\n".encode())
                else:
                    writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

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


def _told(event: dict[str, Any], order: int) -> Told:
    members = event["data"]["jobs"] if event["type"] == "job.digest" else [event]
    jobs = tuple((each["data"]["id"], each["data"]["state"]) for each in members if each["type"].startswith("job."))
    batch = str(event["data"]["id"]) if event["type"].startswith("batch.") else None
    return Told(str(event["type"]), order, jobs, batch)
