"""Schedules on a real database and bucket, with a clock that the test moves."""

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from clients.phota_requests import Operation
from clients.s3_objects import ObjectInfo
from models import settle
from producer.ownership import OPERATOR, Owner
from producer.recipes import Recipe
from producer.schedules.definitions import Added, NewSchedule, add_schedule
from producer.schedules.runs import list_run
from settings import Settings
from tests.integration.uploads import BUCKET, Uploads
from worker.admit import admit
from worker.schedules import look

DAY = timedelta(days=1)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TICK = datetime(2026, 3, 2, 21, tzinfo=UTC)  # 22:00 in Paris
OWNER = Owner(OPERATOR, BUCKET)
ENHANCE = Recipe(Operation.ENHANCE, {}, output="s3://results/done/{custom_id}-{index}.{ext}")
SETTINGS = Settings(_env_file=None, s3_bucket=BUCKET, concurrency=2)
PRICE = "0.12"  # of one job


@dataclass
class Nights:
    """The schedule `nightly` on a folder of its own in a bucket."""

    engine: Engine
    uploads: Uploads
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def source(self) -> str:
        return f"s3://{BUCKET}/{self.uploads.prefix}"

    def put(self, *names: str, data: str = "") -> None:
        """Each with other bytes: what is the same is done once."""
        for name in names:
            self.uploads.put(name, f"{self.uploads.prefix}{name}{data}".encode())

    def add(self, name: str = "nightly", owner: Owner = OWNER, **fields: Any) -> Added:
        usual = {"cron": "0 22 * * *", "time_zone": "Europe/Paris", "source": self.source, "recipe": ENHANCE}
        with self.engine.begin() as connection:
            return add_schedule(connection, owner, NewSchedule(name=name, **{**usual, **fields}), now=NOON)

    def look(self, now: datetime) -> list[uuid.UUID]:
        """What the dispatcher does once a second."""
        with self.engine.begin() as connection:
            return look(connection, now=now)

    def carry_out(self, run_id: uuid.UUID, storage: Any = None) -> None:
        """What the task does."""
        list_run(self.engine, storage or self.uploads.storage, run_id, SETTINGS, stopping=self.stopping)

    def night(self, now: datetime, storage: Any = None) -> uuid.UUID:
        """A tick, and the source listed."""
        [run_id] = self.look(now)
        self.carry_out(run_id, storage)
        with self.engine.begin() as connection:
            look(connection, now=now)
        return run_id

    def work(self, now: datetime, state: str = "succeeded") -> int:
        """Admit what may begin, at most two at a time, end it, and settle; how many jobs that was."""
        with self.engine.begin() as connection:
            admitted = admit(connection, SETTINGS, now=now)
            connection.execute(
                text(
                    f"UPDATE jobs SET state = '{state}', due_at = NULL, hold = 'idle', finished_at = now(), "
                    f"cost_usd = {PRICE if state == 'succeeded' else 0} WHERE id = ANY(:ids)"
                ),
                {"ids": admitted},
            )
            batches = settle.closed_batches(connection)
            settle.start(connection, batches)
        with self.engine.begin() as connection:
            settle.settle(connection, batches)
        return len(admitted)

    def expire(self) -> None:
        """The lease of whoever lists runs out."""
        self.change("UPDATE schedule_runs SET due_at = started_at WHERE state = 'listing'")

    def change(self, statement: str, **values: Any) -> int:
        with self.engine.begin() as connection:
            return connection.execute(text(statement), values).rowcount

    def run(self, run_id: uuid.UUID) -> dict[str, Any]:
        return self.rows("SELECT * FROM schedule_runs WHERE id = :id", id=run_id)[0]

    def summary(self, run_id: uuid.UUID) -> tuple[Any, ...]:
        """State, what ended it, and how many pictures were done, failed and left over."""
        run = self.run(run_id)
        return run["state"], run["ended_by"], run["done"], run["failed"], run["carried_over"]

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(query), values).mappings()]

    def column(self, query: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query)).scalars())

    def custom_ids(self) -> list[str]:
        return self.column("SELECT custom_id FROM jobs ORDER BY custom_id")


@pytest.fixture
def nights(engine: Engine, uploads: Uploads) -> Nights:
    return Nights(engine, uploads)


class Bucket:
    """Storage that lists so many photos, and in between does what the test says."""

    def __init__(self, photos: int, *, at: int = 0, then: Callable[[], None] | None = None) -> None:
        self._photos = photos
        self._at = at
        self._then = then

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        return ObjectInfo(bucket, key, 5, '"0"') if key.endswith(".jpg") else None

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        for number in range(self._photos):
            if self._then and number == self._at:
                self._then()
            yield ObjectInfo(bucket, f"{prefix}{number:05}.jpg", 5, f'"{number:032x}"')


def raising(error: BaseException) -> Callable[[], None]:
    def go() -> None:
        raise error

    return go
