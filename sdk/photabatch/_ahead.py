"""Several at once, in order, and never more in hand than are worked on: for uploads and downloads of any number."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(function: Callable[[T], R], items: Iterable[T], *, at_once: int) -> Iterator[R]:
    """`map` in threads. The first error ends it; what has begun is waited for."""
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="photabatch")
    ahead: deque[Future[R]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) >= 2 * at_once:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


async def amap_ahead(
    function: Callable[[T], Awaitable[R]], items: Iterable[T] | AsyncIterable[T], *, at_once: int
) -> AsyncGenerator[R, None]:
    """`map` in tasks. The first error ends it; what has begun is cancelled."""
    places = asyncio.Semaphore(at_once)

    async def in_place(item: T) -> R:
        async with places:
            return await function(item)

    ahead: deque[asyncio.Task[R]] = deque()
    try:
        async for item in _each(items):
            ahead.append(asyncio.create_task(in_place(item)))
            if len(ahead) >= 2 * at_once:
                yield await ahead.popleft()
        while ahead:
            yield await ahead.popleft()
    finally:
        for task in ahead:
            task.cancel()
        await asyncio.gather(*ahead, return_exceptions=True)


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
