"""What the leading dispatcher does for triggers: the ids of those whose next listing is due go to a worker."""

import logging
import time
from collections.abc import Callable

from celery import Celery
from sqlalchemy import Connection

from models.triggers import take_due_triggers, unsend_triggers

log = logging.getLogger(__name__)

TASK, QUEUE = "trigger.repair", "schedule"
_LOOK_S = 1.0  # between two looks; listings are minutes apart
_MOST = 500  # triggers of one look


class Repairs:
    """`broker_errors`: what sending may raise. `is_crowded`: whether a queue has more messages than anybody takes."""

    def __init__(
        self, app: Celery, broker_errors: tuple[type[Exception], ...], is_crowded: Callable[[str], bool]
    ) -> None:
        self._app = app
        self._is_crowded = is_crowded
        self._broker_errors = broker_errors
        self._looked_at = 0.0

    def send(self, connection: Connection) -> None:
        """One message a trigger, after the commit: a listing takes long, and others can begin meanwhile."""
        if time.monotonic() - self._looked_at < _LOOK_S:
            return
        self._looked_at = time.monotonic()
        with connection.begin():
            due = take_due_triggers(connection, limit=_MOST)
        if due and self._is_crowded(QUEUE):
            return  # they are due again when a message would be sent again
        for number, trigger_id in enumerate(due):
            try:
                self._app.send_task(TASK, ([str(trigger_id)],), queue=QUEUE)
            except self._broker_errors as error:
                log.warning("broker away, %d listings wait: %s", len(due) - number, type(error).__name__)
                with connection.begin():
                    unsend_triggers(connection, due[number:])
                return
