"""Whether a callback is Phota's own, and which secret says so."""

import asyncio
import hashlib
import hmac
import json
import random
from typing import Any

import httpx
import pytest

from clients.phota import PhotaClient
from clients.phota_errors import Uncertain
from producer.callbacks import CallbackSecrets, SecretUnavailable, is_signed, remote_job_id
from settings import Settings
from tests.unit.test_outcomes import job
from tests.unit.test_submit_images import Open
from worker.addresses import callback_url
from worker.kit import Kit
from worker.submit import submit

SECRET = "a secret of the account"
BODY = json.dumps({"job_id": "j1", "status": "succeeded", "result": {"download_urls": ["https://x/1"]}}).encode()


def signed(body: bytes = BODY, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("form", ["{}", "sha256={}", " {} "])
def test_the_digest_may_stand_bare_or_named(form: str) -> None:
    assert is_signed(BODY, form.format(signed()), secret=SECRET)
    assert is_signed(BODY, form.format(signed()).upper().replace("SHA", "sha"), secret=SECRET)


def test_a_thousand_flipped_bits_are_refused() -> None:
    source = random.Random(3)
    digest = bytes.fromhex(signed())
    for _ in range(500):
        assert not is_signed(flipped(BODY, source.randrange(8 * len(BODY))), signed(), secret=SECRET)
        assert not is_signed(BODY, flipped(digest, source.randrange(256)).hex(), secret=SECRET)


@pytest.mark.parametrize(
    "signature",
    ["", "sha256=", "0" * 64, signed()[:-1], signed() + "0", "sha1=" + signed(), "sha256=sha256=" + signed(), "ä" * 64],
)
def test_what_is_no_signature_of_it_is_refused(signature: str) -> None:
    assert not is_signed(BODY, signature, secret=SECRET)


def test_another_secret_is_refused() -> None:
    assert not is_signed(BODY, signed(secret="another"), secret=SECRET)


@pytest.mark.parametrize(
    ("body", "job_id"),
    [
        (b'{"job_id": "j1"}', "j1"),
        (b'{"id": "j1"}', "j1"),
        (b'{"job_id": "j1", "id": "event"}', "j1"),
        (b'{"job_id": 7}', None),
        (b'{"job_id": ""}', None),
        (b'{"job_id": "a\\u0000b"}', None),
        (b'{"job_id": "\\ud800"}', None),
        (b'{"job_id": "' + b"x" * 513 + b'"}', None),
        (b'["j1"]', None),
        (b"not JSON", None),
        (b"\xff\xfe", None),
        (b"[" * 60_000, None),
        (b"", None),
    ],
)
def test_the_job_is_read_from_whatever_came(body: bytes, job_id: str | None) -> None:
    assert remote_job_id(body) == job_id


class Phota:
    """Tells its secret, and how often it was asked; the clock is moved by hand."""

    def __init__(self, *secrets: str | None) -> None:
        self.secrets = list(secrets)
        self.asked = 0
        self.now = 1000.0

    async def secret(self) -> str:
        self.asked += 1
        await asyncio.sleep(0)
        told = self.secrets[min(self.asked, len(self.secrets)) - 1]
        if told is None:
            raise Uncertain("down", code="timeout")
        return told

    def guard(self) -> CallbackSecrets:
        return CallbackSecrets(self.secret, clock=lambda: self.now)


def test_callbacks_at_once_share_one_fetch() -> None:
    phota = Phota(SECRET)

    async def many() -> list[bool]:
        guard = phota.guard()
        return await asyncio.gather(*(guard.is_genuine(BODY, signed()) for _ in range(50)))

    assert asyncio.run(many()) == [True] * 50
    assert phota.asked == 1


def after(phota: Phota, *steps: tuple[float, str]) -> list[bool]:
    """One callback a step: seconds that pass before it, and the secret it is signed with."""

    async def go() -> list[bool]:
        guard, seen = phota.guard(), []
        for seconds, secret in steps:
            phota.now += seconds
            seen.append(await guard.is_genuine(BODY, signed(secret=secret)))
        return seen

    return asyncio.run(go())


def test_a_secret_is_good_for_an_hour() -> None:
    phota = Phota(SECRET)
    assert after(phota, (0, SECRET), (3599, SECRET)) == [True, True]
    assert phota.asked == 1
    assert after(phota, (0, SECRET), (3601, SECRET)) == [True, True]
    assert phota.asked == 3


def test_a_rotated_secret_is_asked_for() -> None:
    phota = Phota("old", "new")
    assert after(phota, (0, "old"), (61, "new"), (1, "old")) == [True, True, False]


def test_forged_callbacks_ask_phota_once_a_minute_at_most() -> None:
    phota = Phota(SECRET)
    assert after(phota, *[(1, "forged")] * 120) == [False] * 120
    assert phota.asked == 2


def test_an_old_secret_serves_while_phota_is_down() -> None:
    phota = Phota(SECRET, None)
    assert after(phota, (0, SECRET), (7200, SECRET), (61, SECRET)) == [True, True, True]
    assert phota.asked == 3


def test_without_any_secret_nothing_is_judged() -> None:
    phota = Phota(None, SECRET)

    async def go() -> bool:
        guard = phota.guard()
        for _ in range(3):
            with pytest.raises(SecretUnavailable):
                await guard.is_genuine(BODY, signed())
        phota.now += 6
        return await guard.is_genuine(BODY, signed())

    assert asyncio.run(go())
    assert phota.asked == 2


SIMULATED, LIVE = "http://127.0.0.1:8190/v1/phota", "https://api.photalabs.com/v1/phota"


@pytest.mark.parametrize(
    ("public_url", "phota", "expected"),
    [
        (None, LIVE, None),
        ("https://photos.example.com/", LIVE, "https://photos.example.com/v1/callbacks/phota"),
        ("https://example.com/photabatch", LIVE, "https://example.com/photabatch/v1/callbacks/phota"),
        ("http://photos.example.com", LIVE, None),  # Phota would refuse every job for it
        ("http://127.0.0.1:8080", SIMULATED, "http://127.0.0.1:8080/v1/callbacks/phota"),
    ],
)
def test_phota_is_asked_to_call_back_where_it_can(public_url: str | None, phota: str, expected: str | None) -> None:
    assert callback_url(Settings(_env_file=None, public_url=public_url, phota_base_url=phota)) == expected


@pytest.mark.parametrize("url", ["ftp://example.com", "example.com", "//example.com"])
def test_a_public_address_is_one_of_the_web(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        Settings(_env_file=None, public_url=url)


def submitted(**fields: Any) -> dict[str, Any]:
    """What Phota is posted by stage `submit`."""
    bodies: list[dict[str, Any]] = []

    def accept(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(202, json={"job_id": "j1"})

    http = httpx.AsyncClient(transport=httpx.MockTransport(accept))
    unused: dict[str, Any] = dict.fromkeys(("storage", "webhooks", "inspector"))
    kit = Kit(
        **unused,
        phota=PhotaClient(http, base_url=LIVE, api_key="any"),
        sightings=Open(),  # type: ignore[arg-type]
        is_sync=False,
        spare_bucket="photabatch",
        sends_links=True,
        **fields,
    )
    asyncio.run(submit(job(operation="generate", params={"prompt": "a boat"}), kit))
    return bodies[0]


def test_a_job_is_handed_over_with_the_address_to_call_back() -> None:
    assert submitted(callback_url="https://x/v1/callbacks/phota")["callback_url"] == "https://x/v1/callbacks/phota"
    assert "callback_url" not in submitted()
