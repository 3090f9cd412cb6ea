"""Processes that decode: however one ends, its picture alone is told of it, and the next one is served."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any

import pytest

from clients.image_child import ImageChild, NoChild
from clients.image_children import ImageChildren
from clients.images import BadImage

MANY = 64 * 2**20  # bytes; far more than a pipe holds


@pytest.fixture(scope="module")
def children() -> Iterator[ImageChildren]:
    children = ImageChildren(seconds=1)
    yield children
    children.close()


def length(data: bytes) -> int:
    return len(data)


def pid(data: bytes) -> int:
    return os.getpid()


def end(how: int, data: bytes) -> None:
    os.kill(os.getpid(), how)
    time.sleep(60)


def leave(data: bytes) -> None:
    os._exit(0)


def end_in_the_answer(data: bytes) -> bytes:
    """As when the system is out of memory: while the answer is on its way."""
    threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return bytes(2 * MANY)


def work(data: bytes) -> None:
    while True:
        pass


def swell(data: bytes) -> int:
    return len(bytearray(3 * 2**30))


def is_heard(number: int, data: bytes) -> bool:
    return number not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def code_of(future: "Future[Any]") -> str:
    with pytest.raises(BadImage) as caught:
        future.result()
    return caught.value.code


POISON = [partial(end, signal.SIGSEGV), partial(end, signal.SIGKILL), partial(end, signal.SIGABRT), leave]


@pytest.mark.parametrize("poison", [*POISON, end_in_the_answer])
def test_poison_fails_alone(children: ImageChildren, poison: Any) -> None:
    asked = [children._submit(poison if number == 2 else length, b"x" * number) for number in range(6)]
    assert code_of(asked.pop(2)) == "image_crashed_decoder"
    assert [future.result() for future in asked] == [0, 1, 3, 4, 5]


def test_much_poison_is_no_harm_to_the_few_beside_it(children: ImageChildren) -> None:
    asked = [children._submit(length if number % 3 == 0 else POISON[number % 4], b"") for number in range(15)]
    codes = [code_of(future) for number, future in enumerate(asked) if number % 3]
    assert codes == ["image_crashed_decoder"] * 10
    assert [future.result() for future in asked[::3]] == [0] * 5


def test_a_child_that_is_killed_while_a_picture_is_on_its_way_to_it_gets_it_again(children: ImageChildren) -> None:
    before = children._submit(pid, b"").result()
    asked = children._submit(length, bytes(MANY))
    os.kill(before, signal.SIGKILL)
    assert asked.result() == MANY
    assert children._submit(pid, b"").result() != before


def test_a_child_that_is_killed_with_nothing_to_do_is_replaced(children: ImageChildren) -> None:
    before = children._submit(pid, b"").result()
    os.kill(before, signal.SIGKILL)
    assert [children._submit(length, b"four").result() for _ in range(3)] == [4] * 3


@pytest.mark.skipif("sys.platform != 'linux'")
def test_what_never_ends_is_ended_after_the_seconds_it_worked(children: ImageChildren) -> None:
    assert code_of(children._submit(work, b"")) == "image_too_slow"
    assert children._submit(length, b"x").result() == 1


@pytest.mark.skipif("sys.platform != 'linux'")
def test_the_seconds_are_those_of_each_picture(children: ImageChildren) -> None:
    """Not those of all that the child has looked at so far."""
    same = {children._submit(partial(busy, 0.45), b"").result() for _ in range(5)}
    assert len(same) == 1


def busy(seconds: float, data: bytes) -> int:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return os.getpid()


@pytest.mark.skipif("sys.platform != 'linux'")
def test_what_swells_is_refused_its_memory_and_the_child_goes_on(children: ImageChildren) -> None:
    before = children._submit(pid, b"").result()
    with pytest.raises(MemoryError):
        children._submit(swell, b"").result()
    assert children._submit(pid, b"").result() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_ends_no_picture(children: ImageChildren, number: int) -> None:
    assert not children._submit(partial(is_heard, number), b"").result()
    assert is_heard(number, b"")


def test_closing_gives_up_what_is_in_hand_and_it_is_not_called_a_crash() -> None:
    children = ImageChildren(workers=2)
    began = children._submit(pid, b"").result()
    asked = [children._submit(partial(end, 0), b"") for _ in range(5)]
    children.close()
    for future in asked:
        with pytest.raises(CancelledError):
            future.result()
    with pytest.raises(ProcessLookupError):
        os.kill(began, 0)


def test_what_was_closed_begins_again_when_it_is_asked() -> None:
    children = ImageChildren()
    assert children._submit(length, b"x").result() == 1
    children.close()
    assert children._submit(length, b"xx").result() == 2
    children.close()


def test_a_caller_that_gives_up_holds_up_nobody(children: ImageChildren) -> None:
    async def run() -> int:
        first = asyncio.ensure_future(children._run(partial(busy, 0.2), b""))
        second = asyncio.ensure_future(children._run(length, b"x"))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(run()) == 1


def test_a_process_that_cannot_start_is_no_fault_of_the_picture() -> None:
    child = ImageChild(memory_bytes=2**80)  # a limit that no system takes
    with pytest.raises(NoChild):
        child.ask(length, b"x", seconds=1)
    child.close()
