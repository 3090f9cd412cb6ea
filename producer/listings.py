"""Listings take minutes: they have a few threads of their own, so that those of Celery are there for jobs."""

import logging
import threading
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery.signals import worker_shutting_down

log = logging.getLogger(__name__)

AT_ONCE = 4  # of one kind in one process; what waits behind them is in Postgres, and is sent again

stopping = threading.Event()
"""The worker ends: whoever lists gives back what is in hand, and another one lists the rest."""


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    stopping.set()


class Listings:
    """`work` takes one id; nobody waits for it, and an id that is in hand here is not taken a second time."""

    def __init__(self, work: Callable[[uuid.UUID], None], *, at_once: int = AT_ONCE) -> None:
        self._work = work
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="listing")
        self._lock = threading.Lock()
        self._in_hand: set[uuid.UUID] = set()

    def start(self, ids: Iterable[str]) -> None:
        """As a message has them."""
        for wanted in map(uuid.UUID, ids):
            with self._lock:
                is_new = wanted not in self._in_hand
                self._in_hand.add(wanted)
            if is_new:
                self._pool.submit(self._carry_out, wanted)

    def _carry_out(self, wanted: uuid.UUID) -> None:
        try:
            if not stopping.is_set():
                self._work(wanted)
        except Exception:
            log.exception("listing for %s", wanted)
        finally:
            with self._lock:
                self._in_hand.discard(wanted)
