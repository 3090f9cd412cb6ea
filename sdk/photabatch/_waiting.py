"""How a batch is followed: what its events say, when to connect again, when to look instead, when to stop."""

import time
from collections.abc import Callable
from dataclasses import replace

import httpx

from photabatch import _answers
from photabatch._calls import SILENCE_S
from photabatch._retries import Clock, Pauses, Retry, is_passing
from photabatch._sse import EventReader
from photabatch.errors import ApiError, ConnectionFailed, PhotabatchError, WaitTimeout
from photabatch.types import Batch

# An event is late by up to the 15 s between the API's signs of life: the end of a time limit is looked at, not heard.
_LAST_STRETCH_S = 20.0
_SHORTEST_LOOK_S, _LONGEST_LOOK_S = 0.5, 5.0


class Following:
    """The events of one batch over as many connections as it takes; `until`: moment of `clock` to stop at."""

    def __init__(self, retry: Retry, *, until: float | None = None, clock: Clock = time.monotonic) -> None:
        self._pauses = Pauses(retry.patient(), clock=clock)
        self._until = until
        self._clock = clock
        self._is_ended = False

    @property
    def is_over(self) -> bool:
        return self._is_ended or self._left_s() <= 0

    @property
    def silence_s(self) -> float:
        """After so long without a byte the connection is given up."""
        return max(min(SILENCE_S, self._left_s()), 0.1)

    def connected(self, response: httpx.Response) -> None:
        self._response, self._reader = response, EventReader()

    def feed(self, piece: bytes) -> list[Batch]:
        """Raise ApiError where an event cannot be read."""
        events = [event for event in self._reader.feed(piece) if event.event in ("progress", "end")]
        if events:
            self._pauses.reset()
        self._is_ended = self._is_ended or any(event.event == "end" for event in events)
        return [_answers.read_text(self._response, event.data, _answers.batch) for event in events]

    def pause_after(self, error: PhotabatchError | None) -> float:
        """Seconds until the next connection; None: the API closed this one. Raise `error` if there is none."""
        error = error or ConnectionFailed("the events broke off, again and again")
        pause = self._pauses.next_s(error.retry_after if isinstance(error, ApiError) else None)
        if pause is None or not is_passing(error):
            raise error
        return max(min(pause, self._left_s()), 0.0)

    def _left_s(self) -> float:
        return float("inf") if self._until is None else self._until - self._clock()


class Waiting:
    """One wait for a batch's end; `timeout` in seconds, None for ever."""

    def __init__(
        self,
        timeout: float | None,
        on_progress: Callable[[Batch], object] | None,
        retry: Retry,
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        self._clock = clock
        self._begun_at = clock()
        self._timeout = timeout
        self._on_progress = on_progress
        self._retry = retry.patient()
        self._last: Batch | None = None

    @property
    def follow_until(self) -> float | None:
        return None if self._timeout is None else self._begun_at + self._timeout - _LAST_STRETCH_S

    @property
    def read_s(self) -> float | None:
        left_s = self._left_s()
        return None if left_s is None else max(left_s, 1.0)

    @property
    def retry(self) -> Retry:
        left_s = self._left_s()
        return self._retry if left_s is None else replace(self._retry, total_s=min(self._retry.total_s, left_s))

    def pause_s(self) -> float | None:
        """Seconds until the next look: longer, the longer it takes; None once the time is over."""
        pause = min(max((self._clock() - self._begun_at) / 10, _SHORTEST_LOOK_S), _LONGEST_LOOK_S)
        left_s = self._left_s()
        if left_s is None:
            return pause
        return min(pause, left_s) if left_s > 0 else None

    def is_ended_by(self, batch: Batch) -> bool:
        """Tells `on_progress` what is new."""
        if self._on_progress and batch != self._last:
            self._on_progress(batch)
        self._last = batch
        return batch.is_final

    def timed_out(self) -> WaitTimeout:
        seen = "not seen" if self._last is None else f"{self._last.status}, {self._last.counts.finished} jobs finished"
        return WaitTimeout(f"the batch is not final after {self._timeout} s ({seen}); it goes on", batch=self._last)

    def _left_s(self) -> float | None:
        return None if self._timeout is None else self._timeout - (self._clock() - self._begun_at)
