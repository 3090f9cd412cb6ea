"""Deliveries: signed, bounded, and never an exception for what a receiver does."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from clients import webhooks
from clients.http import new_http_client
from clients.webhooks import Answer, deliver, next_try

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HAPPENED = datetime(2026, 5, 1, 14, 30, tzinfo=timezone(timedelta(hours=2)))
DELIVERED = Answer(200, None, None, is_delivered=True, is_gone=False)

Receiver = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def tell(http: httpx.AsyncClient, url: str = "https://hooks.example/in", *secrets: str) -> Answer:
    event: dict[str, Any] = {"event_type": "job.succeeded", "timestamp": HAPPENED, "data": {"id": "j1", "name": "Zoë"}}
    sent_at = datetime.now(UTC)
    return await deliver(http, url, secrets=secrets or (SECRET,), message_id="msg_1", sent_at=sent_at, **event)


def answered(answer: httpx.Response | Callable[[httpx.Request], httpx.Response], *secrets: str) -> Answer:
    handler = answer if callable(answer) else lambda _: answer
    http = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    return asyncio.run(tell(http, "https://hooks.example/in", *secrets))


def test_a_receiver_can_verify_what_it_gets() -> None:
    seen: list[httpx.Request] = []
    assert answered(lambda request: seen.append(request) or httpx.Response(200)) == DELIVERED
    body = seen[0].content
    Webhook(SECRET).verify(body, dict(seen[0].headers))
    assert body == b'{"type":"job.succeeded","timestamp":"2026-05-01T12:30:00Z","data":{"id":"j1","name":"Zo\\u00eb"}}'
    assert json.loads(body)["data"]["name"] == "Zoë"
    assert (seen[0].headers["webhook-id"], seen[0].headers["content-type"]) == ("msg_1", "application/json")


def test_every_live_secret_signs_and_no_other_verifies() -> None:
    seen: list[httpx.Request] = []
    answered(lambda request: seen.append(request) or httpx.Response(200), SECRET, OTHER)
    for secret in (SECRET, OTHER):
        Webhook(secret).verify(seen[0].content, dict(seen[0].headers))
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(f"{SECRET[:-4]}AAAA").verify(seen[0].content, dict(seen[0].headers))


def test_the_signature_is_the_one_of_the_specification() -> None:
    sent_at = datetime.fromtimestamp(1_614_265_330, tz=UTC)
    signed = webhooks.sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        sent_at=sent_at,
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("status", "error", "is_gone"),
    [(400, "http_400", False), (410, "http_410", True), (500, "http_500", False), (302, "redirected", False)],
)
def test_anything_but_a_2xx_is_a_failure(status: int, error: str, is_gone: bool) -> None:
    answer = answered(httpx.Response(status, headers={"Location": "http://169.254.169.254/", "Retry-After": "9"}))
    assert answer == Answer(status, error, 9, is_delivered=False, is_gone=is_gone)


def over_the_wire(receiver: Receiver, allowed_hosts: list[str] | None = None) -> Answer:
    async def run() -> Answer:
        listening = await asyncio.start_server(receiver, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        timeouts = httpx.Timeout(0.3)
        async with aclosing(new_http_client(connections=1, timeouts=timeouts, allowed_hosts=allowed_hosts)) as http:
            answer = await tell(http, url)
        listening.close()
        return answer

    return asyncio.run(run())


def raw(answer: bytes, *, times: int = 1, stalls: bool = False) -> Receiver:
    async def receiver(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            for _ in range(times):
                writer.write(answer)
                await writer.drain()
            if stalls:
                await reader.read()
        except ConnectionError:
            pass
        writer.close()

    return receiver


@pytest.mark.parametrize(
    "receiver",
    [
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"),
        raw(b"HTTP/1.1 200 OK\r\n\r\n", stalls=True),
        raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2**20, times=1000),
    ],
    ids=["plain", "broken off", "stalled", "endless"],
)
def test_a_status_in_time_is_delivery_whatever_the_body(receiver: Receiver) -> None:
    assert over_the_wire(receiver) == DELIVERED


@pytest.mark.parametrize(
    ("receiver", "error"),
    [
        (raw(b""), "connection_lost"),
        (raw(b"not http\r\n\r\n"), "connection_lost"),
        (raw(b"", stalls=True), "timeout"),
    ],
    ids=["reset", "garbage", "silent"],
)
def test_a_receiver_that_does_not_answer_is_no_exception(receiver: Receiver, error: str) -> None:
    assert over_the_wire(receiver) == Answer(None, error, None, is_delivered=False, is_gone=False)


def test_a_private_receiver_is_for_whom_the_operator_allowed() -> None:
    ok = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert over_the_wire(ok, []).error == "address_refused"
    assert over_the_wire(ok, ["127.0.0.1"]) == DELIVERED


@pytest.mark.parametrize(
    "url", ["", "ftp://x/", "http://", "http://localhost:99999/", "http://a b/", "http://\ud800/", "http://localhost/"]
)
def test_a_useless_url_is_no_exception(url: str) -> None:
    async def run() -> Answer:
        async with new_http_client(connections=1, allowed_hosts=[]) as http:
            return await tell(http, url)

    assert asyncio.run(run()).error in ("connect_failed", "connection_lost", "address_refused")


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_é", "whsec_a"])
def test_a_useless_secret_is_our_own_fault(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_ and base64"):
        asyncio.run(tell(httpx.AsyncClient(), "https://hooks.example/in", SECRET, secret))


def test_tries_follow_the_contract_with_jitter() -> None:
    seconds = [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
    for tries, planned in enumerate(seconds):
        waits = [next_try(tries, random.Random(seed)) for seed in range(20)]
        assert all(wait and planned <= wait.total_seconds() <= planned * 1.1 for wait in waits if planned)
        assert len(set(waits)) == (20 if planned else 1)
    assert next_try(len(seconds), random.Random()) is None
