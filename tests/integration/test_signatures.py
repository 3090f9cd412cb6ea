"""What really arrives, judged by the official verifier: every delivery is accepted, nothing that was changed."""

import random
import string

import pytest
from sqlalchemy import Engine
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from models import DEFAULT_ACCOUNT
from producer import webhooks
from tests.integration.outbox_events import (
    deliveries,
    end_jobs,
    look,
    register,
)
from tests.integration.receivers import Call, Notifier, Receiver, through


def secret(engine: Engine) -> str:
    return str(look(engine, "SELECT secret FROM webhook_endpoints")[0]["secret"])


def test_the_official_verifier_accepts_every_delivery(engine: Engine) -> None:
    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        end_jobs(engine, 50)
        await notify.deliver()

    receiver = Receiver()
    through(engine, receiver, work=work)
    assert len(receiver.calls) == len({call.id for call in receiver.calls}) == 50
    for call in receiver.calls:
        told = Webhook(secret(engine)).verify(call.body, call.headers)
        assert told["data"]["id"] in {str(row["job_id"]) for row in deliveries(engine)}


def test_both_secrets_verify_during_a_rotation(engine: Engine) -> None:
    secrets = []

    async def work(notify: Notifier) -> None:
        registered = register(engine, url=receiver.url)
        secrets.append(secret(engine))
        with engine.begin() as connection:
            secrets.append(webhooks.rotate(connection, DEFAULT_ACCOUNT, registered))
        end_jobs(engine, 1)
        await notify.deliver()

    receiver = Receiver()
    through(engine, receiver, work=work)
    for each in secrets:
        Webhook(each).verify(receiver.calls[0].body, receiver.calls[0].headers)
    assert receiver.calls[0].headers["webhook-signature"].count("v1,") == 2


SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")


def flipped(call: Call, bit: int) -> tuple[bytes, dict[str, str]]:
    """The call with one bit of its body or of what signs it turned over."""
    values = [call.body, *(call.headers[name].encode() for name in SIGNED)]
    for number, value in enumerate(values):
        if bit < len(value) * 8:
            values[number] = value[: bit // 8] + bytes([value[bit // 8] ^ 1 << bit % 8]) + value[bit // 8 + 1 :]
            break
        bit -= len(value) * 8
    body, *signed = values
    return body, call.headers | {name: value.decode("latin-1") for name, value in zip(SIGNED, signed, strict=True)}


def meaningless_bits(call: Call) -> set[int]:
    """Bits that stand for nothing, so that turning one over forges nothing.

    A signature of 32 bytes is 43 characters of base64 and a `=`; the 43rd holds four bits of it, its two low ones are
    padding. So where turning a bit of that character yields another one of the same four bits, the same 32 bytes are
    decoded. All else is signed as it is (id, timestamp, body), names the version or holds six bits of the signature; a
    character outside the alphabet, which the decoder skips, leaves one too few. The timestamp is read as a number, but
    no bit of a digit gives the same number in other characters.
    """
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    signature = call.headers["webhook-signature"]
    before = sum(len(value) for value in (call.body, call.id, call.headers["webhook-timestamp"], signature[:-2])) * 8
    last = signature[-2]
    others = {bit: alphabet.find(chr(ord(last) ^ 1 << bit)) for bit in range(8)}
    return {before + bit for bit, value in others.items() if value >= 0 and value >> 2 == alphabet.index(last) >> 2}


def test_a_thousand_random_bit_flips_are_refused(engine: Engine) -> None:
    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        end_jobs(engine, 20)
        await notify.deliver()

    receiver, source = Receiver(), random.Random(20)
    through(engine, receiver, work=work)
    verifier = Webhook(secret(engine))
    for call in receiver.calls:
        bits = range(8 * (len(call.body) + sum(len(call.headers[name]) for name in SIGNED)))
        for bit in meaningless_bits(call):
            verifier.verify(*flipped(call, bit))
        for bit in source.sample(sorted(set(bits) - meaningless_bits(call)), 50):
            with pytest.raises((WebhookVerificationError, ValueError)):  # or it is no base64, no UTF-8, no pair
                verifier.verify(*flipped(call, bit))
