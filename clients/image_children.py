"""Child processes that read what strangers made: one that crashes, hangs or swells takes only its own work with it."""

import asyncio
import contextlib
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool

from clients.images import BadImage

A = TypeVar("A")
T = TypeVar("T")

SECONDS = 20.0  # for one picture
MEMORY_BYTES = 2 * 2**30  # address space of a child; a picture of 200 megapixels takes 800 MB
_CLOSING_S = 1.0
_TRIES = 3


class ImageChildren:
    """`workers` child processes, started at the first call. Thread-safe.

    Whatever a function raises there is raised here; for one that ends or outlasts its child, BadImage with the code
    image_crashed_decoder or image_too_slow.
    """

    def __init__(self, workers: int = 1, *, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._workers = workers
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._pool: ProcessPool | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the children; a picture in hand that takes longer than a second more is given up.

        A child that is just starting is let: it would complain at length that its parent's locks are gone.
        """
        with self._lock, contextlib.suppress(TimeoutError):
            if self._pool is not None and self._pool.active:
                self._pool.close()  # type: ignore[no-untyped-call]
                self._pool.join(timeout=_CLOSING_S)
                self._pool = None
        with self._lock:
            self._discard()

    async def _run(self, function: Callable[[A], T], argument: A) -> T:
        for _ in range(_TRIES):
            with _explained():
                return await asyncio.wrap_future(self._schedule(function, argument))
        raise _crashed()

    def _run_sync(self, function: Callable[[A], T], argument: A) -> T:
        for _ in range(_TRIES):
            with _explained():
                return self._schedule(function, argument).result()
        raise _crashed()

    def _schedule(self, function: Callable[[A], T], argument: A) -> "Future[T]":
        with self._lock:
            if self._pool is not None and not self._pool.active:
                self._discard()  # a child was killed while it was idle, which breaks the whole pool
            if self._pool is None:
                self._pool = self._new_pool()
            with _unheard(signal.SIGINT):
                return self._pool.schedule(function, args=(argument,), timeout=self._seconds)

    def _new_pool(self) -> ProcessPool:
        """Spawned, because a fork of a process with threads may hold their locks for ever."""
        context = multiprocessing.get_context("spawn")
        return ProcessPool(self._workers, initializer=_limit, initargs=(self._memory_bytes,), context=context)

    def _discard(self) -> None:
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()
            self._pool = None


@contextlib.contextmanager
def _unheard(number: signal.Signals) -> Iterator[None]:
    """What begins in here, threads and what they spawn too, never gets the signal.

    Ctrl-C reaches every process of a terminal: children that it ends while they start leave the pool waiting for ever.
    """
    resource_tracker.ensure_running()  # begins with the first child otherwise, and lets the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """BadImage for a picture whose child ended; nothing, so that the caller tries again, if the pool broke."""
    try:
        yield
    except TimeoutError:
        raise BadImage("image_too_slow", "the image takes too long to decode") from None
    except ProcessExpired:
        raise _crashed() from None
    except BrokenProcessPool:
        pass


def _crashed() -> BadImage:
    return BadImage("image_crashed_decoder", "the image makes its decoder crash")


def _limit(memory_bytes: int) -> None:
    """In the child: bounded memory, no core dumps."""
    if sys.platform != "linux":  # elsewhere the limits are not kept
        return
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
