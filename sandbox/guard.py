"""The supervisor's side of the reaper."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from sandbox import reaper
from sandbox.reaper import Watched

_only_ours: set[int] = set()


def _close_in_fork() -> None:
    """A forked helper of the caller would otherwise hold pipe and lock open past the supervisor's death."""
    while _only_ours:
        with contextlib.suppress(OSError):
            os.close(_only_ours.pop())


os.register_at_fork(after_in_child=_close_in_fork)


class Guard:
    """Holds the lock of a home and the pipe to its reaper, for as long as the supervisor lives. Thread-safe."""

    def __init__(self, lock_fd: int, *, stack_file: Path) -> None:
        self._lock_fd = lock_fd
        self._stack_file = stack_file
        self._watched: dict[int, Watched] = {}
        self._mutex = threading.RLock()
        _only_ours.add(lock_fd)
        self._start()

    def watch(self, pid: int, *, stop_signal: int, litter: Iterable[Path] = ()) -> None:
        """From now on neither the group led by `pid` nor its litter outlives the supervisor."""
        with self._mutex:
            self._watched[pid] = {"pid": pid, "stop_signal": int(stop_signal), "litter": [str(path) for path in litter]}
            self._write(self._watched[pid])

    def forget(self, pid: int) -> None:
        with self._mutex:
            self._watched.pop(pid, None)
            self._write(pid)

    def ensure(self) -> None:
        """Replace a reaper that was killed."""
        with self._mutex:
            if self._process.poll() is not None:
                self._close(self._pipe)
                self._start()

    def close(self) -> None:
        """Release the home; whatever is still watched is ended by the reaper first."""
        with self._mutex:
            self._close(self._pipe)
            try:
                self._process.wait(timeout=2 * reaper.GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._close(self._lock_fd)

    def _start(self) -> None:
        read_end, self._pipe = os.pipe()
        _only_ours.add(self._pipe)
        self._process = subprocess.Popen(  # noqa: S603  this interpreter, a file of ours
            [sys.executable, "-I", "-S", reaper.__file__, str(self._stack_file)],
            stdin=read_end,
            stdout=subprocess.DEVNULL,
            pass_fds=[self._lock_fd],
            start_new_session=True,
        )
        os.close(read_end)
        for group in self._watched.values():
            self._write(group)

    def _write(self, order: Watched | int) -> None:
        try:
            os.write(self._pipe, json.dumps(order).encode() + b"\n")
        except BrokenPipeError:
            self.ensure()

    @staticmethod
    def _close(fd: int) -> None:
        _only_ours.discard(fd)
        os.close(fd)
