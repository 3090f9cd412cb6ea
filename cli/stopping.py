"""SIGTERM and Ctrl-C for processes that finish what they have in hand."""

import os
import signal
import threading
import time
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


class LastResort:
    """Ends the process so many seconds after it was asked to stop, whatever hangs: a frozen database, a library."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        threading.Thread(target=self._wait, name="last-resort", daemon=True).start()

    def begin(self) -> None:
        """May be called by a signal handler: it takes no lock."""
        os.write(self._writer, b"-")

    def follow_signals(self) -> None:
        """Begin with the first signal that has a handler, even where the main thread comes to run none.

        Not in a process with an event loop, which has the same file of the interpreter's for itself.
        """
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def _wait(self) -> None:
        os.read(self._reader, 1)
        time.sleep(self._seconds)
        os._exit(0)
