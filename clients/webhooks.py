"""Telling receivers what happened, as Standard Webhooks has it.

Whatever a receiver does is an Answer, never an exception: that it is down is its own affair.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from clients.http import NETWORK_ERRORS, failure_of, is_refusal, retry_after_seconds
from models.moments import written

DELIVERY_SECONDS = 15  # docs/contract.md: for all of a delivery
MAX_ANSWER_BYTES = 64 * 2**10
_JITTER = 0.1

# docs/contract.md: how long after the try before the next one is made.
SCHEDULE = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a try. `error`: None if delivered, else address_refused, connect_failed, connection_lost, timeout,
    redirected, or http_NNN. `retry_after`: seconds the receiver asked for. `is_gone`: 410, never send there again."""

    http_status: int | None
    error: str | None
    retry_after: float | None
    is_delivered: bool
    is_gone: bool


def encode(event_type: str, timestamp: datetime, data: Mapping[str, Any]) -> bytes:
    """The body: compact JSON with `timestamp`, when it happened, in ISO 8601 and UTC."""
    body = {"type": event_type, "timestamp": written(timestamp), "data": data}
    return json.dumps(body, separators=(",", ":")).encode()


def headers(secrets: Sequence[str], message_id: str, body: bytes, *, sent_at: datetime) -> dict[str, str]:
    """Signed for `sent_at`, the moment of this try: receivers refuse what is more than five minutes old.

    Every one of `secrets` signs, so that a receiver may know any. Raise ValueError if one is not `whsec_` and base64.
    """
    sent_at = sent_at.astimezone(UTC)
    return {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": " ".join(sign(secret, message_id, body, sent_at=sent_at) for secret in secrets),
    }


def sign(secret: str, message_id: str, body: bytes, *, sent_at: datetime) -> str:
    """`v1,` and the signature in base64. Raise ValueError as `headers` does."""
    try:
        webhook = Webhook(secret)
    except (ValueError, EmptyWebhookSecretError):
        raise ValueError("a webhook secret is whsec_ and base64") from None
    return str(webhook.sign(message_id, sent_at.astimezone(UTC), body.decode()))


async def deliver(
    http: httpx.AsyncClient,
    url: str,
    *,
    secrets: Sequence[str],
    message_id: str,
    event_type: str,
    timestamp: datetime,
    sent_at: datetime,
    data: Mapping[str, Any],
) -> Answer:
    """One try. `message_id` is the same on every try of an event; `timestamp` is when the event happened.

    `sent_at`: this moment, by a clock that is right: receivers refuse what is five minutes off.

    `secrets`: those that are live, more than one during a rotation. `http` should be a client with `allowed_hosts`,
    since users choose `url`. Raise ValueError for a secret of no use.
    """
    body = encode(event_type, timestamp, data)
    signed = headers(secrets, message_id, body, sent_at=sent_at)
    response = None
    try:
        async with asyncio.timeout(DELIVERY_SECONDS):
            request = http.build_request("POST", url, content=body, headers=signed)
            response = await http.send(request, stream=True, follow_redirects=False)
            await _drain(response)
    except (*NETWORK_ERRORS, UnicodeError) as error:
        if response is None:
            return _failed("address_refused" if is_refusal(error) else failure_of(error))
    finally:
        await _close(response)
    return _judged(response)


def next_try(tries: int, rng: random.Random) -> timedelta | None:
    """How long to wait after `tries` tries: the schedule, up to a tenth longer; None when it is exhausted."""
    if tries >= len(SCHEDULE):
        return None
    return SCHEDULE[tries] * (1 + rng.uniform(0, _JITTER))


def _judged(response: httpx.Response) -> Answer:
    """By the status alone: a body that breaks off or never ends changes nothing."""
    if response.is_success:
        return Answer(response.status_code, None, None, is_delivered=True, is_gone=False)
    error = "redirected" if response.is_redirect else f"http_{response.status_code}"
    return _failed(error, status=response.status_code, retry_after=retry_after_seconds(response.headers))


async def _close(response: httpx.Response | None) -> None:
    with contextlib.suppress(*NETWORK_ERRORS):
        if response is not None:
            await response.aclose()


async def _drain(response: httpx.Response) -> None:
    """Read a short body, so that its connection can be used again; leave a long one."""
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size >= MAX_ANSWER_BYTES:
            return


def _failed(error: str, *, status: int | None = None, retry_after: float | None = None) -> Answer:
    return Answer(status, error, retry_after, is_delivered=False, is_gone=status == httpx.codes.GONE)
