"""Listings beside the work of a worker's own threads."""

import threading
import uuid
from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeout

from producer.listings import Listings, stopping
from producer.schedules.heartbeat import kept


@pytest.fixture
def stopped() -> Iterator[None]:
    stopping.set()
    yield
    stopping.clear()


def test_whoever_takes_the_message_does_not_wait_for_the_listing() -> None:
    go, done = threading.Event(), threading.Barrier(2)

    def work(_: uuid.UUID) -> None:
        go.wait(10)
        done.wait(10)

    Listings(work).start([str(uuid.uuid4())])
    go.set()
    done.wait(10)


def test_a_message_that_comes_again_is_not_taken_twice() -> None:
    go, seen = threading.Event(), Counter[uuid.UUID]()
    wanted, last = uuid.uuid4(), uuid.uuid4()
    over = threading.Event()

    def work(each: uuid.UUID) -> None:
        go.wait(10)
        seen[each] += 1
        if each == last:
            over.set()

    listings = Listings(work, at_once=1)
    for each in (wanted, wanted, wanted, last):
        listings.start([str(each)])
    go.set()
    assert over.wait(10)
    assert seen == {wanted: 1, last: 1}


def test_a_fault_leaves_the_thread_to_the_next() -> None:
    over, wanted = threading.Event(), [uuid.uuid4(), uuid.uuid4()]

    def work(each: uuid.UUID) -> None:
        if each == wanted[0]:
            raise ZeroDivisionError
        over.set()

    Listings(work, at_once=1).start(map(str, wanted))
    assert over.wait(10)


@pytest.mark.usefixtures("stopped")
def test_a_worker_that_ends_begins_nothing() -> None:
    begun = threading.Event()
    Listings(lambda _: begun.set(), at_once=1).start([str(uuid.uuid4())])
    assert not begun.wait(0.2)


def test_a_heartbeat_goes_on_when_no_connection_was_free() -> None:
    beats = iter([PoolTimeout("none is free"), False])

    def keep() -> bool:
        beat = next(beats)
        if isinstance(beat, Exception):
            raise beat
        return beat

    with kept(keep, every_s=0.01) as lost:
        assert lost.wait(10)
