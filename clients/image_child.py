"""One child process, and a pipe to it that it shares with nobody: however it ends, nobody else is left waiting."""

import contextlib
import math
import multiprocessing
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

A = TypeVar("A")
T = TypeVar("T")

_START_S = 60.0  # to import what it needs, on a machine that is busy
_PATIENCE = 6  # times the seconds of work: on a machine that is busy they take longer
_OURS = (signal.SIGINT, signal.SIGTERM)  # a terminal or an init system sends them to every process of a group


class ChildLate(Exception):  # noqa: N818 - says what became of it
    """It took longer than it had, and was killed."""


class ChildCrashed(Exception):  # noqa: N818
    """It ended over what it was asked."""


class ChildGone(Exception):  # noqa: N818
    """It ended before it began with what it was asked, so that may be asked again."""


class NoChild(Exception):  # noqa: N818
    """No process can be started: no fault of any picture."""


class ImageChild:
    """Started at the first question, and anew where it had to end. One question at a time; `close` from any thread."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._pipe: Connection[Any, Any] | None = None
        self._process: BaseProcess | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def ask(self, function: Callable[[A], T], argument: A, *, seconds: float) -> T:
        """What `function` returns or raises there. `seconds` of work, of all its threads together.

        Raise ChildLate, ChildCrashed, ChildGone, NoChild; CancelledError if it is closed meanwhile.
        """
        pipe = self._ready()
        try:
            _send(pipe, function, argument, seconds)
            _await(pipe, _START_S)
        except (EOFError, OSError):
            self._end()
            raise ChildGone from None
        try:
            is_good, answer = _await(pipe, seconds * _PATIENCE)
        except (EOFError, OSError) as error:
            is_late = isinstance(error, TimeoutError)
            is_late = self._end() == -signal.SIGXCPU or is_late
            raise ChildLate if is_late else ChildCrashed from None
        if is_good:
            return answer  # type: ignore[no-any-return]
        raise answer

    def close(self) -> None:
        """End it for good, whatever it is at."""
        with self._lock:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()

    def _ready(self) -> "Connection[Any, Any]":
        """The pipe to a child that waits for a question."""
        if self._process is not None and not self._process.is_alive():  # killed while it had nothing to do
            self._end()
        if self._pipe is not None:
            return self._pipe
        self._pipe = pipe = self._start()
        try:
            _await(pipe, _START_S)
        except (EOFError, OSError):
            self._end()
            raise NoChild("the process that decodes images does not start") from None
        return pipe

    def _start(self) -> "Connection[Any, Any]":
        """Spawned, because a fork of a process with threads may hold their locks for ever."""
        context = multiprocessing.get_context("spawn")
        with self._lock:
            if self._is_closed:
                raise CancelledError
            ours, theirs = context.Pipe()
            with theirs, _unheard():
                process = context.Process(target=_serve, args=(theirs, self._memory_bytes), daemon=True)
                process.start()
            self._process = process
            self._finalizer = weakref.finalize(self, _finish, process, ours)  # also where this process ends
        return ours

    def _end(self) -> int | None:
        """What it ended with, or minus the signal that ended it. Raise CancelledError if that was wanted."""
        with self._lock:
            process, self._process, self._pipe = self._process, None, None
            self._finalizer()
            if self._is_closed:
                raise CancelledError
        return None if process is None else process.exitcode


def _finish(process: BaseProcess, pipe: "Connection[Any, Any]") -> None:
    process.kill()
    process.join()
    pipe.close()


def _await(pipe: "Connection[Any, Any]", seconds: float) -> Any:
    """Its next word. Raise TimeoutError, EOFError, OSError."""
    if not pipe.poll(seconds):
        raise TimeoutError
    return pipe.recv()


def _send(pipe: "Connection[Any, Any]", function: Callable[[A], T], argument: A, seconds: float) -> None:
    """Bytes as they are: pickled they would be in memory once more on both sides."""
    if isinstance(argument, bytes):
        pipe.send((function, seconds, None))
        pipe.send_bytes(argument)
    else:
        pipe.send((function, seconds, (argument,)))


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """What begins in here, threads and what they spawn too, never gets these signals.

    They reach every process of a terminal or a service: a child that they end would look as if its picture did it.
    """
    resource_tracker.ensure_running()  # begins with the first child otherwise, and lets the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: "Connection[Any, Any]", memory_bytes: int) -> None:
    """In the child, until nobody is at the other end of the pipe."""
    _limit(memory_bytes)
    with contextlib.suppress(EOFError, ConnectionError):
        pipe.send(None)
        while True:
            function, seconds, packed = pipe.recv()
            argument = pipe.recv_bytes() if packed is None else packed[0]
            pipe.send(None)  # from here on, an end is the picture's doing
            _limit_work(seconds)
            pipe.send(_answer(function, argument))
            del argument, packed


def _answer(function: Callable[[Any], Any], argument: Any) -> tuple[bool, Any]:
    try:
        return True, function(argument)
    except Exception as error:
        return False, error.with_traceback(None)


def _limit(memory_bytes: int) -> None:
    """Bounded memory, no core dumps."""
    if sys.platform != "linux":  # elsewhere the limits are not kept
        return
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_work(seconds: float) -> None:
    """From now on; SIGXCPU ends what works longer."""
    if sys.platform != "linux":
        return
    import resource

    done = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(done.ru_utime + done.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
