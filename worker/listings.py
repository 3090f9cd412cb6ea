"""Listings that are due, of schedules and of triggers: the leading dispatcher sends the id of each to a worker."""

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from celery import Celery
from sqlalchemy import Connection

from clients.failpoints import pass_point
from models.schedule_runs import unsend_runs
from models.triggers import take_due_triggers, unsend_triggers
from settings import get_settings
from worker.schedules import look

log = logging.getLogger(__name__)

QUEUE = "schedule"
MOST = 500  # ids of one look
_LOOK_S = 1.0  # between two looks


@dataclass(frozen=True, slots=True)
class Kind:
    """`take`: the ids that are due, marked as sent. `unsend`: the broker did not take those."""

    task: str
    take: Callable[[Connection], Sequence[uuid.UUID]]
    unsend: Callable[[Connection, Sequence[uuid.UUID]], None]


KINDS = (
    Kind("trigger.repair", partial(take_due_triggers, limit=MOST), unsend_triggers),
    Kind("schedule.run", partial(look, limit=MOST), unsend_runs),
)


class Listings:
    """`broker_errors`: what sending may raise. `is_crowded`: whether a queue has more messages than anybody takes."""

    def __init__(
        self, app: Celery, broker_errors: tuple[type[Exception], ...], is_crowded: Callable[[str], bool]
    ) -> None:
        self._app = app
        self._is_crowded = is_crowded
        self._broker_errors = broker_errors
        self._looked_at = 0.0

    def send(self, connection: Connection) -> None:
        """At most once a second."""
        if time.monotonic() - self._looked_at < _LOOK_S:
            return
        self._looked_at = time.monotonic()
        for kind in KINDS:
            self._send(connection, kind)

    def _send(self, connection: Connection, kind: Kind) -> None:
        """One message a listing, after the commit: it takes long, and others can begin meanwhile."""
        with connection.begin():
            due = kind.take(connection)
        if due:
            pass_point("after_listings_due", get_settings().failpoint)
        if due and self._is_crowded(QUEUE):
            return  # they are due again when a message would be sent again
        for number, each in enumerate(due):
            try:
                self._app.send_task(kind.task, ([str(each)],), queue=QUEUE)
            except self._broker_errors as error:
                log.warning("broker away, %d of %s wait: %s", len(due) - number, kind.task, type(error).__name__)
                with connection.begin():
                    kind.unsend(connection, due[number:])
                return
