"""Several at once, in order, and never many in hand."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator

import pytest

from photabatch._ahead import amap_ahead, map_ahead

Mapping = Callable[[Callable[[int], int], Iterable[int], int], Iterator[int]]


def in_threads(function: Callable[[int], int], items: Iterable[int], at_once: int) -> Iterator[int]:
    return map_ahead(function, items, at_once=at_once)


def in_tasks(function: Callable[[int], int], items: Iterable[int], at_once: int) -> Iterator[int]:
    """Pulled one by one, as a loop in a coroutine would."""

    async def work(item: int) -> int:
        await asyncio.sleep(0)
        return function(item)

    with asyncio.Runner() as runner:
        results = amap_ahead(work, items, at_once=at_once)

        async def pull() -> list[int]:
            return [await anext(results)]

        try:
            while True:
                try:
                    yield runner.run(pull())[0]
                except StopAsyncIteration:
                    return
        finally:
            runner.run(results.aclose())


both = pytest.mark.parametrize("mapping", [in_threads, in_tasks])


@both
def test_results_are_in_order(mapping: Mapping) -> None:
    assert list(mapping(lambda item: item * 2, range(100), 4)) == [item * 2 for item in range(100)]
    assert list(mapping(lambda item: item, [], 4)) == []


@both
def test_little_is_taken_before_it_is_needed(mapping: Mapping) -> None:
    taken: list[int] = []
    results = mapping(lambda item: item, (taken.append(item) or item for item in range(1000)), 4)
    for number in range(10):
        assert next(results) == number
        assert len(taken) <= number + 8


@both
def test_the_first_error_ends_it(mapping: Mapping) -> None:
    done: list[int] = []

    def work(item: int) -> int:
        done.append(item)
        if item == 5:
            raise LookupError("five")
        return item

    with pytest.raises(LookupError, match="five"):
        list(mapping(work, range(1000), 4))
    assert len(done) <= 5 + 8


def test_threads_work_side_by_side() -> None:
    together = threading.Barrier(4)
    assert sum(map_ahead(lambda _: together.wait(10) >= 0, range(8), at_once=4)) == 8


def test_no_more_tasks_than_told_work_at_once() -> None:
    working: list[int] = []
    most: list[int] = []

    async def work(item: int) -> int:
        working.append(item)
        most.append(len(working))
        await asyncio.sleep(0)
        working.remove(item)
        return item

    async def run(function: Callable[[int], Awaitable[int]]) -> list[int]:
        return [item async for item in amap_ahead(function, range(50), at_once=4)]

    assert asyncio.run(run(work)) == list(range(50))
    assert max(most) == 4


def test_after_an_error_no_task_is_left() -> None:
    async def work(item: int) -> int:
        if item == 0:
            raise LookupError("zero")
        await asyncio.Event().wait()  # for ever, unless it is cancelled
        return item

    async def run() -> None:
        async for _ in amap_ahead(work, range(50), at_once=4):
            pass

    with pytest.raises(LookupError):
        asyncio.run(asyncio.wait_for(run(), 10))
