"""When a call is tried again. Pure: nothing here waits or connects.

In words: after a lost connection, 429, 502, 503 or 504 a call is made again after a random time of up to 0.5, 1, 2, 4 …
8 seconds (full jitter), on top of `Retry-After` where the API tells one; five times in all, and not if it would be
later than two minutes after the first. What follows a batch for hours is more patient: fifty times, ten minutes.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import httpx

from photabatch._answers import error_of
from photabatch._calls import Call
from photabatch.errors import ApiError, ConnectionFailed

Clock = Callable[[], float]

_PASSING = (429, 502, 503, 504)
_IN_PROGRESS = "idempotency_in_progress"  # our own try before, still being worked on
# What no second try would change: our request, or an answer that is none of HTTP.
_LASTING = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.DecodingError, httpx.TooManyRedirects)


@dataclass(frozen=True, slots=True)
class Retry:
    """`tries` in all, first included; seconds of backoff at first and at most; no try later than `total_s`."""

    tries: int = 5
    base_s: float = 0.5
    cap_s: float = 8.0
    total_s: float = 120.0

    def patient(self) -> "Retry":
        """For what outlives a restart of the API."""
        return replace(self, tries=self.tries * 10, total_s=self.total_s * 5)


DEFAULT = Retry()
ONCE = Retry(tries=1)


def pause_s(
    retry: Retry, tried: int, *, elapsed_s: float, retry_after_s: float | None, random_source: random.Random
) -> float | None:
    """Seconds to wait after the `tried`-th try (1, 2, …), `elapsed_s` after the first began; None to give up."""
    if tried >= retry.tries:
        return None
    ceiling = min(retry.cap_s, retry.base_s * 2 ** min(tried - 1, 30))
    pause = random_source.uniform(0, ceiling) + (retry_after_s or 0)
    return pause if elapsed_s + pause <= retry.total_s else None


class Pauses:
    """The pauses between the tries of one thing, counted from its making or from `reset`."""

    def __init__(self, retry: Retry, *, clock: Clock = time.monotonic) -> None:
        self._retry = retry
        self._clock = clock
        self._random = random.Random()  # noqa: S311 - jitter
        self.reset()

    def reset(self) -> None:
        self.tried = 0
        self._begun_at = self._clock()

    def next_s(self, retry_after_s: float | None = None) -> float | None:
        """One more try has failed: seconds until the next, None to give up."""
        self.tried += 1
        elapsed_s = self._clock() - self._begun_at
        return pause_s(
            self._retry, self.tried, elapsed_s=elapsed_s, retry_after_s=retry_after_s, random_source=self._random
        )


class Tries:
    """The tries of one call so far."""

    def __init__(self, call: Call, retry: Retry, *, clock: Clock = time.monotonic) -> None:
        self._call = call
        self._pauses = Pauses(retry, clock=clock)

    def pause_after(self, outcome: httpx.Response | httpx.RequestError) -> float:
        """Seconds until the next try. Raise what the outcome means if there is none: ApiError, ConnectionFailed."""
        refusal = error_of(outcome) if isinstance(outcome, httpx.Response) else None
        pause = self._pauses.next_s(refusal.retry_after if refusal else None)
        if pause is not None and self._call.is_repeatable and is_passing(refusal or outcome):
            return pause
        raise refusal or self._lost(outcome) from None

    def _lost(self, error: object) -> ConnectionFailed:
        tries = f" after {self._pauses.tried} tries" if self._pauses.tried > 1 else ""
        once = "" if self._call.is_repeatable else "; the body could be read only once, so it was not sent again"
        return ConnectionFailed(
            f"no answer to {self._call.method} {self._call.path}{tries}: {type(error).__name__}: {error}{once}",
            idempotency_key=self._call.idempotency_key,
        )


def is_passing(error: object) -> bool:
    """Whether the same again may succeed."""
    if isinstance(error, ApiError):
        return error.status in _PASSING or error.code == _IN_PROGRESS
    return not isinstance(error, _LASTING)
