"""SIGTERM and Ctrl-C for processes that finish what they have in hand."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopper:
    """Once installed, a signal ends a `waiting` block at once with KeyboardInterrupt, and anything else when it comes
    to the next one. A second signal ends it wherever it is."""

    def __init__(self) -> None:
        self.is_wanted = False
        self._is_waiting = False

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):  # a shell that starts a process with & has the latter ignored
            signal.signal(number, self._take)

    def _take(self, _signal: int, _frame: FrameType | None) -> None:
        if self._is_waiting or self.is_wanted:
            raise KeyboardInterrupt
        self.is_wanted = True

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self._is_waiting = True  # before the look: a signal in between must not be missed
        try:
            if self.is_wanted:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_waiting = False
