"""Phota's signed callbacks. They are hints: a genuine one makes its job due now, polling stays the authority.

ASSUMED until the real text is at hand (docs/phota-api.md, section 3): the header is the HMAC-SHA256 of the raw body in
hex, bare or behind `sha256=`; the body is a JSON object that names the job as `job_id` or `id`.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable

from sqlalchemy import Connection

from clients.phota_errors import PhotaError
from models.dispatch import wake_by_remote_id

log = logging.getLogger(__name__)

SIGNATURE_HEADER = "X-Phota-Signature"
MAX_CALLBACK_BYTES = 64 * 2**10
LONGEST_ID = 512  # characters

_KEEP_S = 3600.0  # a secret is good for so long without being asked for again
_ROTATION_S = 60.0  # between two looks for a new secret, however many signatures do not fit
_FAILED_S = 5.0  # between two tries to get the first one
_PATIENCE_S = 10.0  # with one try: callbacks wait for it
_SIGNATURE = re.compile(r"(?:sha256=)?([0-9a-fA-F]{64})")


class SecretUnavailable(Exception):  # noqa: N818 - what happened
    """Phota does not tell the secret just now, and none is known from before."""


def is_signed(body: bytes, signature: str, *, secret: str) -> bool:
    """Whether `signature` is that of exactly these bytes; compared in constant time."""
    found = _SIGNATURE.fullmatch(signature.strip())
    told = bytes.fromhex(found[1]) if found else bytes(32)
    return hmac.compare_digest(told, hmac.digest(secret.encode(), body, hashlib.sha256)) and found is not None


def remote_job_id(body: bytes) -> str | None:
    """The job that a callback tells of; None if it names none that could be one."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    job_id = (told.get("job_id") or told.get("id")) if isinstance(told, dict) else None
    is_plausible = isinstance(job_id, str) and 0 < len(job_id) <= LONGEST_ID and job_id.isprintable()
    return job_id if is_plausible else None


def take_callback(connection: Connection, body: bytes) -> int:
    """Make the job of a genuine callback due now; how many jobs were woken.

    One that is unknown, final, in a worker's hands or due anyway stays as it is, so a replay changes nothing.
    """
    job_id = remote_job_id(body)
    return wake_by_remote_id(connection, job_id) if job_id else 0


class CallbackSecrets:
    """The secret of the account at Phota, fetched when the first callback comes and after a rotation.

    Lives on one event loop; requests at once share a fetch.
    """

    def __init__(self, fetch: Callable[[], Awaitable[str]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._secret: str | None = None
        self._fetched_at = 0.0
        self._asked_at: float | None = None

    async def is_genuine(self, body: bytes, signature: str) -> bool:
        """Whether Phota sent it. Raise SecretUnavailable."""
        secret = await self._no_older_than(_KEEP_S)
        if is_signed(body, signature, secret=secret):
            return True
        newer = await self._no_older_than(_ROTATION_S)
        return newer != secret and is_signed(body, signature, secret=newer)

    async def _no_older_than(self, age_s: float) -> str:
        """An older one where Phota does not answer, or was asked a moment ago."""
        async with self._lock:
            if self._is_due(age_s):
                await self._ask()
            if self._secret is None:
                raise SecretUnavailable
            return self._secret

    def _is_due(self, age_s: float) -> bool:
        now = self._clock()
        if self._secret is not None and now - self._fetched_at <= age_s:
            return False
        pause_s = _FAILED_S if self._secret is None else _ROTATION_S
        return self._asked_at is None or now - self._asked_at > pause_s

    async def _ask(self) -> None:
        self._asked_at = self._clock()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                self._secret = await self._fetch()
        except (PhotaError, TimeoutError) as error:
            log.warning("no webhook secret from Phota: %s", error or "no answer")
        else:
            self._fetched_at = self._clock()
