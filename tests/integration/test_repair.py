"""The listing that finds what no event told of, under trouble."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeout

from clients.s3_objects import ObjectInfo
from models.triggers import take_due_triggers
from producer.uploads.repair import repair_triggers
from settings import Settings
from tests.integration import uploads as fixtures
from tests.integration.nights import NOON
from tests.integration.uploads import BUCKET, Uploads, rows

s3, uploads = fixtures.s3, fixtures.uploads


class Names:
    """A bucket with objects of these names; `stopping` is set, or `error` raised, after the first."""

    def __init__(
        self, *names: str, stopping: threading.Event | None = None, error: BaseException | None = None
    ) -> None:
        self._names = names
        self._stopping = stopping
        self._error = error

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        for name in self._names:
            yield ObjectInfo(bucket, prefix + name, 5, f'"{name!r}"', NOON)
            if self._stopping:
                self._stopping.set()
            if self._error:
                raise self._error

    def head(self, bucket: str, key: str, *, version_id: str | None = None) -> ObjectInfo:
        return ObjectInfo(bucket, key, 5, f'"{key!r}"', NOON)


def repair(engine: Engine, storage: Names, stopping: threading.Event | None = None) -> None:
    with engine.begin() as connection:
        due = take_due_triggers(connection, limit=10)
    settings = Settings(_env_file=None, s3_bucket=BUCKET)
    repair_triggers(engine, storage, due, settings, stopping=stopping or threading.Event())  # type: ignore[arg-type]


def test_a_key_with_control_characters_holds_up_no_other(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    repair(engine, Names("a\0.jpg", "b\x01.jpg", "c.jpg"))
    assert rows(engine, "custom_id") == ["c.jpg"]
    assert rows(engine, "repaired_at IS NOT NULL", "FROM triggers") == [True]


def test_a_worker_that_stops_gives_the_trigger_back(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    stopping = threading.Event()
    repair(engine, Names("a.jpg", "b.jpg", stopping=stopping), stopping)
    assert rows(engine, "hold, due_at <= now(), repaired_at", "FROM triggers") == [("idle", True, None)]
    repair(engine, Names("a.jpg", "b.jpg"))
    assert rows(engine, "custom_id") == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("error", [PoolTimeout("no connection is free")])
def test_a_repair_without_a_connection_is_put_off(uploads: Uploads, engine: Engine, error: BaseException) -> None:
    uploads.watch(engine)
    repair(engine, Names("a.jpg", error=error))
    assert rows(engine, "hold, repaired_at", "FROM triggers") == [("idle", None)]
