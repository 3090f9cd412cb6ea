"""What can go wrong with a call to Phota, and what to do now.

PhotaError
├── Retryable                 the same call again, after `retry_after` seconds if it says so
│   ├── Throttled             429, 503: certainly not executed
│   ├── Uncertain             5xx, reset, timeout, unreadable answer: perhaps executed, see `is_sent`
│   └── BadResult             what was downloaded is not what was announced
├── GateClosed                401, 402, 403: no call will succeed until somebody acts, see `reason`
├── Rejected                  this request is refused for good: invalid, or moderation
├── JobFailed                 Phota gave the job up
├── JobLost                   Phota does not know the job (any more)
└── ResultExpired             the download URL is no longer valid: poll again for a fresh one
"""

# ruff: noqa: N818 - the names say what happened, the tree that they are errors

import re
from typing import Literal

from clients.redaction import without_secrets

GateReason = Literal["no_credit", "bad_key", "forbidden"]

LONGEST_MESSAGE = 500  # characters
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{100,}={0,2}")


class PhotaError(Exception):
    """`code` is stable and in lower case; `request_id` is Phota's own, for its support."""

    def __init__(
        self, message: str, *, code: str, http_status: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(redact(message))
        self.code = code
        self.http_status = http_status
        self.request_id = request_id


class Retryable(PhotaError):
    """`retry_after`: seconds Phota asked to wait; None if it did not."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        http_status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code, http_status=http_status, request_id=request_id)
        self.retry_after = retry_after


class Throttled(Retryable):
    """Certainly not executed."""


class Uncertain(Retryable):
    """Perhaps executed and charged: repeat with the same `client_request_id` only.

    `is_sent` is False where nothing can have been charged: no connection was made, or Phota gave the money back.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        http_status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        is_sent: bool = True,
    ) -> None:
        super().__init__(message, code=code, http_status=http_status, request_id=request_id, retry_after=retry_after)
        self.is_sent = is_sent


class BadResult(Retryable):
    """A result of the wrong length, empty, too large, or of another job."""


class GateClosed(PhotaError):
    """Not this job's fault: no credit (402), a bad key (401), or not allowed (403)."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        reason: GateReason,
        http_status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code, http_status=http_status, request_id=request_id)
        self.reason: GateReason = reason
        self.retry_after = retry_after


class Rejected(PhotaError):
    """Never send it unchanged again; `content_moderation` is the code of a moderation block."""


class JobFailed(PhotaError):
    """A poll says that the job ended without a result."""


class JobLost(PhotaError):
    """404 or 410 to a poll."""


class ResultExpired(PhotaError):
    """403, 404 or 410 to a download."""


def redact(text: str, *secrets: str) -> str:
    """`text` in one line, without `secrets`, queries and user names of URLs, or base64; 500 characters at most."""
    text = without_secrets(text[:20_000], *secrets)
    text = " ".join(_BASE64.sub("[base64]", text).replace("\0", "").split())
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"
