"""One child process: its start, its log, its restarts, its end."""

import contextlib
import logging
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.guard import Guard
from sandbox.reaper import signal_group

log = logging.getLogger(__name__)

LOG_LIMIT_BYTES = 10 * 1024 * 1024
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_LIMIT_SECONDS = 10.0
CALM_SECONDS = 30.0
"""A child that lived this long starts its backoff afresh."""

# The child becomes its program only once the guard knows its pid: were the supervisor killed in between, `read` would
# meet the end of the pipe and the child would end by itself.
_GATE = ("/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null')


@dataclass(frozen=True, kw_only=True)
class Command:
    """How to run a child. `env` is its whole environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path | None = None
    uid: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    litter: tuple[Path, ...] = ()
    """Files that a life cut short leaves lying about; removed before each start and after each end."""


class Child:
    """A program kept in a session of its own, so that Ctrl-C in the terminal does not reach it. Not thread-safe."""

    def __init__(
        self,
        name: str,
        command: Command,
        *,
        log: Path,
        guard: Guard,
        longest_delay_seconds: float = BACKOFF_LIMIT_SECONDS,
    ) -> None:
        self.name = name
        self.log = log
        self.restarts = 0
        self.should_restart = False
        self._command = command
        self._guard = guard
        self._delay_seconds = BACKOFF_FIRST_SECONDS
        self._longest_delay_seconds = longest_delay_seconds
        self._ended_at: float | None = None
        rotate(log)
        self._launch()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    @property
    def is_alive(self) -> bool:
        return self.returncode is None

    def tend(self) -> None:
        """Start it again if it ended, after a delay that doubles from 0.1 s to the longest, 10 s as a rule."""
        now = time.monotonic()
        if self.is_alive:
            return
        if self._ended_at is None:
            self._ended_at = now
            self._clear_away()
            if now - self._started_at > CALM_SECONDS:
                self._delay_seconds = BACKOFF_FIRST_SECONDS
        elif self.should_restart and now - self._ended_at >= self._delay_seconds:
            self._delay_seconds = min(2 * self._delay_seconds, self._longest_delay_seconds)
            self._ended_at = now
            with contextlib.suppress(OSError):  # no process or disk to be had: tried again after the next delay
                ending = f"ended with {self.returncode}, starting again"
                self._note(ending)
                log.info("%s %s; its log: %s", self.name, ending, self.log)
                self._launch()
                self.restarts += 1

    def ask_to_stop(self) -> None:
        self.should_restart = False
        if self.is_alive:
            signal_group(self.pid, self._command.stop_signal)

    def finish(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic seconds), then kill the whole group."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        self._clear_away()
        self._process.wait()

    def log_tail(self, lines: int = 10) -> str:
        """The last lines that its present life wrote."""
        with self.log.open("rb") as source:
            source.seek(self._log_start)
            return "\n".join(source.read().decode(errors="replace").splitlines()[-lines:])

    def _launch(self) -> None:
        self._remove_litter()
        with self.log.open("ab") as sink:
            self._log_start = sink.tell()
            self._process = subprocess.Popen(  # noqa: S603  lists of our own; the shell gets them as "$@"
                [*_GATE, self.name, *self._command.argv],
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=dict(self._command.env),
                cwd=self._command.cwd,
                start_new_session=True,
                user=self._command.uid,
                group=self._command.uid,
                extra_groups=None if self._command.uid is None else [],
            )
        self._started_at, self._ended_at = time.monotonic(), None
        self._guard.watch(self.pid, stop_signal=self._command.stop_signal, litter=self._command.litter)
        self._open_gate()

    def _open_gate(self) -> None:
        assert self._process.stdin is not None, "asked for above"  # noqa: S101
        with contextlib.suppress(BrokenPipeError), self._process.stdin as gate:
            gate.write(b"\n")

    def _clear_away(self) -> None:
        signal_group(self.pid, signal.SIGKILL)
        self._guard.forget(self.pid)
        self._remove_litter()

    def _remove_litter(self) -> None:
        for path in self._command.litter:
            path.unlink(missing_ok=True)

    def _note(self, text: str) -> None:
        with self.log.open("a") as sink:
            sink.write(f"-- photabatch: {self.name} {text}\n")


def rotate(log: Path) -> None:
    """Move a log of more than 10 MB aside; one former log is kept."""
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
