"""Child processes that read what strangers made: one that crashes, hangs or swells takes only its own work with it."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from clients.image_child import ChildCrashed, ChildGone, ChildLate, ImageChild
from clients.images import BadImage

A = TypeVar("A")
T = TypeVar("T")

SECONDS = 20.0  # of work for one picture; one of 200 megapixels that has to be turned takes 4 to 8
MEMORY_BYTES = 2 * 2**30  # address space of a child; that picture takes 1.7 GB, and is the largest that is taken
_CLOSING_S = 1.0
_TRIES = 3


class ImageChildren:
    """`workers` child processes, started at the first call. Thread-safe.

    Whatever a function raises there is raised here; for one that ends or outlasts its child, BadImage with the code
    image_crashed_decoder or image_too_slow. NoChild if no process can be started.
    """

    def __init__(self, workers: int = 1, *, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._workers = workers
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._crew: _Crew | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the children; a picture in hand that takes longer than a second more is given up: CancelledError."""
        with self._lock:
            crew, self._crew = self._crew, None
        if crew is not None:
            crew.close()

    async def _run(self, function: Callable[[A], T], argument: A) -> T:
        return await asyncio.wrap_future(self._submit(function, argument))

    def _run_sync(self, function: Callable[[A], T], argument: A) -> T:
        return self._submit(function, argument).result()

    def _submit(self, function: Callable[[A], T], argument: A) -> "Future[T]":
        with self._lock:
            if self._crew is None:
                self._crew = _Crew(self._workers, self._seconds, self._memory_bytes)
            return self._crew.submit(function, argument)


class _Crew:
    """Children, and as many threads that ask them."""

    def __init__(self, workers: int, seconds: float, memory_bytes: int) -> None:
        self._seconds = seconds
        self._children = [ImageChild(memory_bytes) for _ in range(workers)]
        self._idle = list(self._children)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="image-child")
        self._asked: set[Future[Any]] = set()

    def submit(self, function: Callable[[A], T], argument: A) -> "Future[T]":
        future = self._threads.submit(self._ask, function, argument)
        self._asked.add(future)
        future.add_done_callback(self._asked.discard)
        return future

    def close(self) -> None:
        wait(set(self._asked), timeout=_CLOSING_S)
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._children:
            child.close()
        self._threads.shutdown()

    def _ask(self, function: Callable[[A], T], argument: A) -> T:
        child = self._idle.pop()
        try:
            for _ in range(_TRIES):
                try:
                    return child.ask(function, argument, seconds=self._seconds)
                except ChildGone:
                    continue
            raise ChildCrashed
        except ChildLate:
            raise BadImage("image_too_slow", "the image takes too long to decode") from None
        except ChildCrashed:
            raise BadImage("image_crashed_decoder", "the image makes its decoder crash") from None
        finally:
            self._idle.append(child)
