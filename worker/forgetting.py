"""Whether the broker has forgotten what it was sent: flushed, or started again without its last seconds."""

import itertools
import uuid
from typing import Any

from celery import Celery

KEY = "photabatch:note"


class Note:
    """Left with the broker at each look, and looked for at the next. `broker_errors`: what asking may raise."""

    def __init__(self, app: Celery, broker_errors: tuple[type[Exception], ...]) -> None:
        self._app = app
        self._broker_errors = broker_errors
        self._name = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        self._left: set[str] = set()  # any of them may be there: an answer can be lost too

    def is_gone(self) -> bool:
        """Whether none of ours is there any more. False while the broker is away or full, and if it is no Redis."""
        note = f"{self._name}:{next(self._numbers)}"
        try:
            connections: Any = self._app.pool
            with connections.acquire(block=True, timeout=5) as broker:
                client: Any = getattr(broker.default_channel, "client", None)
                if client is None:
                    return False
                found = client.set(KEY, note, get=True)
        except self._broker_errors:
            if self._left:
                self._left.add(note)
            return False
        is_gone = bool(self._left) and (found is None or found.decode() not in self._left)
        self._left = {note}
        return is_gone
