"""Faults on demand, as they look on the wire.

429 500 503   an error answer in the documented form      502          an HTML page of some gateway
504           an empty answer                             html         200 with an HTML page
reset         the connection is reset, nothing is done    reset_after  the request is carried out, then reset
hang          silence for `seconds`, then reset           hang_after   carried out, then silence and reset
slow          carried out, the answer drips for `seconds` truncate     the connection closes in mid-answer
wrong_length  the answer is cut, and its length agrees    bad_json     an answer that is cut-off JSON
not_an_image  200 image/jpeg, with text in it             other_image  the picture of another job
expired       403, as for a link that has expired         404 410      nothing is there, or not any more
"""

import asyncio
import random
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.phota.config import FaultRule
from sandbox.phota.errors import PhotaError, respond

_GATEWAY_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 s: closing sends RST
_DRIPS = 20


class Faults:
    """Picks the fault that strikes a request: the first rule that matches and whose dice say so."""

    def __init__(self, rules: list[FaultRule], chance: random.Random) -> None:
        self._rules = rules
        self._left = [rule.times for rule in rules]
        self._chance = chance

    def pick(self, place: str) -> FaultRule | None:
        for index, rule in enumerate(self._rules):
            fits = rule.match == place or (rule.match == "any" and place != "job")
            if not fits or self._left[index] == 0 or self._chance.random() >= rule.rate:
                continue
            left = self._left[index]
            self._left[index] = None if left is None else left - 1
            return rule
        return None


@dataclass
class Answer:
    """What a handler wanted to send."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def collect(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")

    async def send(self, send: Send, *, length: int | None = None, pieces: int = 1, pause_s: float = 0.0) -> None:
        """With a Content-Length of `length`, the body's own by default; more than that leaves the answer open."""
        length = len(self.body) if length is None else length
        others = [(name, value) for name, value in self.headers if name.lower() != b"content-length"]
        headers = [*others, (b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        step = max(1, -(-len(self.body) // pieces))
        for start in range(0, len(self.body), step):
            await asyncio.sleep(pause_s)
            await send({"type": "http.response.body", "body": self.body[start : start + step], "more_body": True})
        if length == len(self.body):
            await send({"type": "http.response.body", "body": b""})


async def _cut_connection(scope: Scope, receive: Receive) -> None:
    transport: Any = scope["transport"]
    if transport.is_closing():  # the client lost patience first
        return
    if connection := transport.get_extra_info("socket"):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
    await _until_gone(receive)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _instead(rule: FaultRule) -> Answer | PhotaError | None:
    """What stands for the whole request, if the fault is of that kind."""
    wait = None if rule.retry_after_s is None else {"Retry-After": str(rule.retry_after_s)}
    html = [(b"content-type", b"text/html")]
    answers: dict[str, Answer | PhotaError] = {
        "429": PhotaError(429, "TOO_MANY_REQUESTS", "too many requests", headers=wait),
        "500": PhotaError(500, "INTERNAL_ERROR", "internal error"),
        "502": Answer(502, html, _GATEWAY_PAGE),
        "503": PhotaError(503, "UNAVAILABLE", "temporarily unavailable", headers=wait),
        "504": Answer(504),
        "404": PhotaError(404, "NOT_FOUND", "not found"),
        "410": PhotaError(410, "GONE", "not here any more"),
        "expired": PhotaError(403, "EXPIRED", "this link has expired"),
        "html": Answer(200, html, _GATEWAY_PAGE.replace(b"502 Bad Gateway", b"Sign in to the network")),
        "not_an_image": Answer(200, [(b"content-type", b"image/jpeg")], b"this is not a picture " * 100),
    }
    return answers.get(rule.fault)


async def strike(rule: FaultRule, app: ASGIApp, scope: Scope, receive: Receive, send: Send, *, other: bytes) -> None:
    """Answer one request with a fault; `other` is a picture of another job."""
    if rule.fault in ("hang", "reset"):
        await asyncio.sleep(rule.seconds if rule.fault == "hang" else 0)
        return await _cut_connection(scope, receive)
    instead = _instead(rule)
    if isinstance(instead, PhotaError):
        return await respond(instead, scope["request_id"])(scope, receive, send)
    if instead:
        return await instead.send(send)
    answer = Answer()
    await app(scope, receive, answer.collect)
    return await _distort(rule, answer, scope, receive, send, other=other)


async def _distort(
    rule: FaultRule, answer: Answer, scope: Scope, receive: Receive, send: Send, *, other: bytes
) -> None:
    full = len(answer.body)
    match rule.fault:
        case "reset_after" | "hang_after":
            await asyncio.sleep(rule.seconds if rule.fault == "hang_after" else 0)
            await _cut_connection(scope, receive)
        case "slow":
            await answer.send(send, pieces=_DRIPS, pause_s=rule.seconds / _DRIPS)
        case "truncate":
            answer.body = answer.body[: full // 2]
            await answer.send(send, length=full)
            scope["transport"].close()
            await _until_gone(receive)
        case "wrong_length" | "bad_json":
            answer.body = answer.body[: full * 2 // 3]
            await answer.send(send)
        case "other_image":
            answer.body = other
            await answer.send(send)
