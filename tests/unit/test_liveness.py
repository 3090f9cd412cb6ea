"""When a worker counts as stuck."""

import threading
from collections.abc import Callable

import pytest

from worker.liveness import LOOKS, Silence, Watch, can_tick


def looks(
    silence: Silence, count: int, *, waiting: int | None = 1, taken: int = 0, is_full: bool = False
) -> list[bool]:
    return [silence.look(waiting=waiting, taken=taken, is_full=is_full) for _ in range(count)]


def test_a_worker_is_stuck_once_it_let_a_message_wait_for_so_many_looks() -> None:
    assert looks(Silence(), LOOKS) == [False] * (LOOKS - 1) + [True]


@pytest.mark.parametrize(
    ("waiting", "taken", "is_full"),
    [(None, 0, False), (0, 0, False), (1, 1, False), (1, 0, True)],
    ids=["broker away", "nothing sent, or taken", "other work taken", "all threads busy"],
)
def test_one_look_that_says_otherwise_begins_anew(waiting: int | None, taken: int, is_full: bool) -> None:
    silence = Silence()
    looks(silence, LOOKS - 1)
    assert looks(silence, 1, waiting=waiting, taken=taken, is_full=is_full) == [False]
    assert looks(silence, LOOKS) == [False] * (LOOKS - 1) + [True]


class Process:
    """What a watch sees of a worker; `loop`: what its event loop does with a callback."""

    def __init__(self, *, ticks: int, loop: Callable[[Callable[[], None]], None]) -> None:
        self.ended = threading.Event()
        self.told: list[tuple[str, bool]] = []
        self.watch = Watch(lambda: ticks, lambda: False, loop, self._end, silence_s=0.06)
        self.watch.start()

    def _end(self, why: str, can_hand_back: bool) -> None:
        self.told.append((why, can_hand_back))
        self.ended.set()


def test_a_hung_event_loop_ends_the_process_at_once() -> None:
    process = Process(ticks=0, loop=lambda _: None)
    assert process.ended.wait(10)
    assert [can_hand_back for _, can_hand_back in process.told] == [False]


def test_a_stuck_consumer_ends_the_process_and_what_is_in_hand_is_given_back() -> None:
    process = Process(ticks=1, loop=lambda callback: callback())
    assert process.ended.wait(10)
    assert [can_hand_back for _, can_hand_back in process.told] == [True]


def test_a_healthy_worker_and_one_that_is_stopping_are_left_alone() -> None:
    healthy = Process(ticks=0, loop=lambda callback: callback())
    stopping = Process(ticks=1, loop=lambda _: None)
    stopping.watch.stop()
    assert not healthy.ended.wait(0.5)
    assert not stopping.ended.is_set()
    healthy.watch.stop()


@pytest.mark.parametrize(("url", "can"), [("rediss://a/0", True), ("amqp://a", True), ("sqs://", False)])
def test_only_queues_that_expire_are_used(url: str, can: bool) -> None:
    assert can_tick(url) is can
