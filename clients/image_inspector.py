"""Child processes in which pictures are decoded: one that crashes, hangs or swells takes only its picture with it."""

import asyncio
import contextlib
import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool

from clients.images import BadImage, ImageInfo, Prepared, inspect, prepare

T = TypeVar("T")

SECONDS = 20.0  # for one picture
MEMORY_BYTES = 2 * 2**30  # address space of a child; a picture of 200 megapixels takes 800 MB
_TRIES = 3


class ImageInspector:
    """`inspect` and `prepare` of clients.images in `workers` child processes, started at the first call.

    Thread-safe. Raise BadImage as they do, and with the codes image_too_slow and image_crashed_decoder.
    """

    def __init__(self, workers: int = 1, *, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._workers = workers
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._pool: ProcessPool | None = None
        self._lock = threading.Lock()

    async def inspect(self, data: bytes) -> ImageInfo:
        return await self._run(inspect, data)

    def inspect_sync(self, data: bytes) -> ImageInfo:
        return self._run_sync(inspect, data)

    async def prepare(self, data: bytes) -> Prepared:
        return _prepared(data, await self._run(_prepare, data))

    def prepare_sync(self, data: bytes) -> Prepared:
        return _prepared(data, self._run_sync(_prepare, data))

    def close(self) -> None:
        """End the children; pictures in hand are given up."""
        with self._lock:
            self._discard()

    async def _run(self, function: Callable[[bytes], T], data: bytes) -> T:
        for _ in range(_TRIES):
            with _explained():
                return await asyncio.wrap_future(self._schedule(function, data))
        raise _crashed()

    def _run_sync(self, function: Callable[[bytes], T], data: bytes) -> T:
        for _ in range(_TRIES):
            with _explained():
                return self._schedule(function, data).result()
        raise _crashed()

    def _schedule(self, function: Callable[[bytes], T], data: bytes) -> "Future[T]":
        with self._lock:
            if self._pool is not None and not self._pool.active:
                self._discard()  # a child was killed while it was idle, which breaks the whole pool
            if self._pool is None:
                self._pool = self._new_pool()
            return self._pool.schedule(function, args=(data,), timeout=self._seconds)

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


def _prepare(data: bytes) -> tuple[ImageInfo, bytes | None]:
    """In the child; bytes that did not change are not sent back."""
    prepared = prepare(data)
    return prepared.info, None if prepared.data is data else prepared.data


def _prepared(data: bytes, answer: tuple[ImageInfo, bytes | None]) -> Prepared:
    info, turned = answer
    return Prepared(info, data if turned is None else turned)
