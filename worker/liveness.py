"""A worker is alive while it takes messages: one that takes none, though one waits for it, ends and is started again.

A worker can answer pings and take nothing: a failed acknowledgement keeps a place in its prefetch window, for ever. So
the leading dispatcher puts a tick into a queue of each worker's own, which comes through the same consumer and the same
window as work, and then through the event loop. The worker's watch, a thread of its own with a connection of its own,
looks whether one is waiting there. While the broker or the dispatcher is away none is, and nobody is judged.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from kombu import Exchange, Queue
from sqlalchemy import Connection

from models.workers import live_workers

log = logging.getLogger(__name__)

TICK = "worker.tick"  # the task
LOOKS = 6  # in a row: a process that was frozen has looked once when it wakes, not six times
_CONNECT_S = 5.0


def tick_queue(worker_id: str, *, silence_s: float) -> Queue:
    """Of one worker. It is gone, with what is in it, some minutes after the worker."""
    name = f"worker.{worker_id}"
    # an exchange of its own: what a dead worker's queue is bound to goes with it
    exchange = Exchange(name, type="direct", durable=False, auto_delete=True)
    return Queue(name, exchange, name, expires=2 * silence_s)


def can_tick(broker_url: str) -> bool:
    """Whether queues of that broker expire; those of SQS would pile up."""
    return broker_url.startswith(("redis", "amqp"))


def _waiting(queue: Queue, broker: Any) -> int:
    """Messages in it; declares it. `broker`: a connection of Celery's."""
    broker.ensure_connection(max_retries=1, interval_start=0, timeout=_CONNECT_S)
    declared: Any = queue.bind(broker.default_channel).queue_declare()
    return int(declared.message_count)


def count_ticks(app: Celery, queue: Queue) -> int | None:
    """That wait there, asked over a connection of its own; None if the broker does not answer."""
    try:
        with app.connection_for_read() as broker:
            return _waiting(queue, broker)
    except Exception as error:  # whatever it is, it is not that a tick waits
        log.warning("broker away, not looked for ticks: %s", type(error).__name__)
        return None


class Ticks:
    """The leading dispatcher's side."""

    def __init__(self, app: Celery, *, silence_s: float) -> None:
        self._app = app
        self._silence_s = silence_s
        self._sent_at = 0.0

    def send(self, connection: Connection) -> None:
        """One to each worker that has taken its last, as often as workers look."""
        if time.monotonic() - self._sent_at < self._silence_s / LOOKS:
            return
        self._sent_at = time.monotonic()
        with connection.begin():
            workers = live_workers(connection)
        queues: list[Any] = [tick_queue(worker_id, silence_s=self._silence_s) for worker_id in workers]
        try:
            with self._app.connection_for_write() as broker:  # of its own: what is declared is forgotten with it
                for queue in queues:
                    if not _waiting(queue, broker):
                        self._app.send_task(TICK, queue=queue, connection=broker, declare=[])
        except Exception as error:  # whatever it is, jobs are sent without ticks too
            log.warning("broker away, no ticks: %s", type(error).__name__)


@dataclass(slots=True)
class Silence:
    """Looks in a row at which there was something to take, room for it, and nothing taken since the last."""

    looks: int = 0

    def look(self, *, waiting: int | None, taken: int, is_full: bool) -> bool:
        """`waiting`: None where the broker does not answer. Whether the worker is stuck."""
        self.looks = self.looks + 1 if waiting and not taken and not is_full else 0
        return self.looks >= LOOKS


@dataclass
class Watch:
    """The worker's side.

    `ticks`: how many are in its queue, None where the broker does not answer. `is_full`: as many messages in hand as
    there are threads. `probe`: has the event loop call back. `end`: ends the process.
    """

    ticks: Callable[[], int | None]
    is_full: Callable[[], bool]
    probe: Callable[[Callable[[], None]], None]
    end: Callable[[str, bool], None]
    silence_s: float
    _taken: int = 0
    _missed: int = 0
    _silence: Silence = field(default_factory=Silence)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def took(self) -> None:
        """A message has come through the consumer and its window."""
        self._taken += 1

    def start(self) -> None:
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def stop(self) -> None:
        """A worker that is asked to stop takes nothing any more, and is right."""
        self._is_over.set()

    def _run(self) -> None:
        while not self._is_over.wait(self.silence_s / LOOKS):
            if self._missed >= LOOKS:
                self.end(f"the event loop has not answered for {self.silence_s:.0f} s", False)
                return
            self._missed += 1
            self.probe(self._answered)
            taken, self._taken = self._taken, 0
            if self._silence.look(waiting=self.ticks(), taken=taken, is_full=self.is_full()):
                self.end(f"no message taken for {self.silence_s:.0f} s though one is waiting", True)
                return

    def _answered(self) -> None:
        self._missed = 0
