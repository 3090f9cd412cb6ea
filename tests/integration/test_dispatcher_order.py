"""A message that is sent before its row says so would find nothing to claim, and the row would wait for a minute."""

import uuid
from collections.abc import Sequence
from typing import Any

from celery import Celery
from sqlalchemy import Connection, Engine, text

from models.states import Stage
from settings import Settings
from tests.integration.conftest import add_batch
from worker.dispatcher import Dispatcher

_HOLDS = text("SELECT hold FROM jobs WHERE id = ANY(:ids)")


class Watched(Dispatcher):
    """What everybody else sees of the rows in the moment in which their ids are sent."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, Celery(broker="memory://"), Settings())
        self.seen: list[str] = []

    def _send(self, connection: Connection, stage: Stage, ids: Sequence[uuid.UUID], **_more: Any) -> None:
        with self._engine.connect() as outside:
            self.seen += outside.execute(_HOLDS, {"ids": list(ids)}).scalars()


def test_ids_leave_after_the_commit_that_marks_them(engine: Engine) -> None:
    add_batch(engine, 3)
    dispatcher = Watched(engine)
    with engine.connect() as connection:
        dispatcher.tick(connection)
    assert dispatcher.seen == ["sent"] * 3
