"""Keeps a set of child processes alive until told to stop."""

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from sandbox.errors import StackError
from sandbox.guard import Guard
from sandbox.process import BACKOFF_LIMIT_SECONDS, Child, Command

GRACE_SECONDS = 10.0
WATCH_SECONDS = 0.1
READY_POLL_SECONDS = 0.03


class Supervisor:
    """Starts children, restarts them when they crash (from a thread of its own), and stops them. Thread-safe."""

    def __init__(self, guard: Guard, *, logs: Path, longest_delay_seconds: float = BACKOFF_LIMIT_SECONDS) -> None:
        self._guard = guard
        self._logs = logs
        self._longest_delay_seconds = longest_delay_seconds
        self._children: dict[str, Child] = {}
        self._mutex = threading.RLock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()

    def start(
        self,
        name: str,
        command: Command,
        *,
        restart: bool = True,
        ready: Callable[[], bool] | None = None,
        timeout_seconds: float = 30.0,
    ) -> Child:
        """Start a child and wait until `ready` says so. Raise StackError if it ends or the time passes before."""
        with self._mutex:
            if name in self._children and self._children[name].is_alive:
                raise ValueError(f"a child named {name!r} runs already")
            child = Child(
                name,
                command,
                log=self._logs / f"{name}.log",
                guard=self._guard,
                longest_delay_seconds=self._longest_delay_seconds,
            )
            self._children.pop(name, None)
            self._children[name] = child
        try:
            self._await(child, ready, timeout_seconds)
        except BaseException:
            self.stop([name])
            raise
        child.should_restart = restart
        return child

    def child(self, name: str) -> Child:
        """Raise KeyError if no child has this name."""
        return self._children[name]

    @property
    def names(self) -> list[str]:
        """In the order of their start."""
        return list(self._children)

    def stop(self, names: Collection[str]) -> None:
        """Ask these children to stop, the youngest first, and kill what is left after ten seconds."""
        with self._mutex:
            children = [child for child in reversed(self._children.values()) if child.name in names]
            for child in children:
                child.ask_to_stop()
        deadline = time.monotonic() + GRACE_SECONDS
        for child in children:
            child.finish(deadline)
        with self._mutex:
            for child in children:
                self._children.pop(child.name, None)

    def end(self) -> None:
        """Restart nothing any more; a start that still waits raises StackError."""
        self._ending.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ending.wait(WATCH_SECONDS):
            with self._mutex:
                self._guard.ensure()
                for child in self._children.values():
                    child.tend()

    def _await(self, child: Child, ready: Callable[[], bool] | None, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while ready is not None and not self._is_ready(child, ready):
            if time.monotonic() > deadline:
                raise self._failure(child, f"did not answer within {timeout_seconds:.0f} s")
            if self._ending.wait(READY_POLL_SECONDS):
                raise StackError(f"{child.name} was stopped while starting.")

    def _is_ready(self, child: Child, ready: Callable[[], bool]) -> bool:
        if not child.is_alive:
            raise self._failure(child, f"ended with code {child.returncode} while starting")
        return ready() and child.is_alive

    @staticmethod
    def _failure(child: Child, what: str) -> StackError:
        return StackError(f"{child.name} {what}. Its last words:\n{child.log_tail()}\nThe whole log: {child.log}")
