"""A lease kept from a thread of its own, for work that blocks the thread it is done in."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

log = logging.getLogger(__name__)


@contextmanager
def kept(keep: Callable[[], bool], *, every_s: float) -> Iterator[threading.Event]:
    """Call `keep` again and again while the block lasts; the event is set when it has said False: the lease is lost.

    A database that is away, or a pool without a free connection, is asked again at the next beat.
    """
    over, lost = threading.Event(), threading.Event()

    def beat() -> None:
        while not over.wait(every_s):
            try:
                is_kept = keep()
            except (DBAPIError, PoolTimeout) as error:
                log.warning("heartbeat failed: %s", type(getattr(error, "orig", error)).__name__)
                continue
            if not is_kept:
                lost.set()
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()
