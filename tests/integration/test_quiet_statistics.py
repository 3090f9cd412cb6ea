"""Plans of statements about jobs, where the planner has been told wrong: by old statistics, or by its first call."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg.errors import Diagnostic
from sqlalchemy import Connection, Engine, func, insert, literal, literal_column, null, select, text, true

from models import admission, controls, dispatch, gauges, lanes
from models.job import Job
from tests.integration.conftest import add_batch
from tests.integration.outbox_events import change

_MANY = 3_000
_READ = "SELECT coalesce(seq_tup_read, 0) + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'jobs'"


def add_ended(engine: Engine, count: int) -> None:
    """Jobs that never waited, so that no index has anything left of them."""
    other = {
        "id": func.gen_random_uuid(),
        "custom_id": literal_column("number::text"),
        "state": literal("cancelled"),
        "due_at": null(),
        "finished_at": func.now(),
    }
    add_batch(engine, 1)
    table = Job.__table__
    columns = [column for column in table.columns if column.computed is None]
    numbers = func.generate_series(1, count).alias("number")
    copies = select(*(other.get(column.name, column).label(column.name) for column in columns)).select_from(
        table.join(numbers, true())
    )
    with engine.begin() as connection:
        connection.execute(insert(table).from_select(columns, copies))


def clean(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def admit(connection: Connection, _batch: uuid.UUID) -> object:
    waiting = lanes.waiting_lanes(connection, lanes.in_flight_by_lane(connection))
    return admission.admit(connection, [(lane, 5) for lane in waiting])


WORK: dict[str, Callable[[Connection, uuid.UUID], object]] = {
    "cancel": controls.cancel,
    "admit": admit,
    "take due": lambda connection, _: dispatch.take_due(connection, limit=100),
    "expire": lambda connection, _: admission.expire(connection, datetime.now(UTC)),
    "gauges": lambda connection, _: gauges.read_gauges(connection),
    "money": controls.read_money,
}


@pytest.mark.parametrize("name", WORK)
def test_a_million_of_others_are_not_read(engine: Engine, name: str) -> None:
    """Statistics of an hour in which nothing waited, and many that wait now."""
    change(engine, "ALTER TABLE jobs SET (autovacuum_enabled = false)")
    add_ended(engine, _MANY)
    clean(engine)
    add_batch(engine, _MANY)
    small = add_batch(engine, 20)
    with engine.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))  # cheap here, where the table is small
        connection.commit()
        WORK[name](connection, small.id)
        assert int(connection.execute(text(_READ)).scalar_one()) < 500


def test_what_expires_is_found_by_its_time(engine: Engine) -> None:
    add_batch(engine, 5)
    change(engine, "UPDATE jobs SET expires_at = now() + make_interval(mins => CAST(custom_id AS int) - 2)")
    with engine.begin() as connection:
        admission.expire(connection, datetime.now(UTC))
        found = connection.scalars(text("SELECT custom_id FROM jobs WHERE state = 'expired' ORDER BY 1")).all()
    assert found == ["0", "1", "2"]


def test_a_plan_made_for_few_is_not_kept_for_many(engine: Engine) -> None:
    """A session of the API that has cancelled what had nothing left cancels a large batch."""
    empty, large = add_batch(engine, 0), add_batch(engine, _MANY)
    clean(engine)  # the smaller all else is, the more a plan for few looks like any other
    told: list[str] = []
    with engine.connect() as connection:
        listen(connection, told)
        controls.cancel(connection, empty.id)
        told.clear()
        controls.cancel(connection, large.id)
    assert any("old_jobs" in each for each in told)
    assert sum(thrown_away(each) for each in told) < 10 * _MANY


def listen(connection: Connection, told: list[str]) -> None:
    """From now on `told` gets the plan of each statement, those inside of functions too, with what it really did."""

    def tell(diagnostic: Diagnostic) -> None:
        told.append(diagnostic.message_primary or "")

    driver: Any = connection.connection.dbapi_connection
    driver.add_notice_handler(tell)
    connection.execute(text("LOAD 'auto_explain'"))
    for name, value in {
        "log_min_duration": "0",
        "log_analyze": "on",
        "log_timing": "off",
        "log_nested_statements": "on",
        "log_level": "notice",
    }.items():
        connection.execute(text(f"SET auto_explain.{name} = '{value}'"))


def thrown_away(plan: str) -> int:
    """Pairs of rows that were compared and did not match."""
    return sum(int(line.rpartition(":")[2]) for line in plan.splitlines() if "Rows Removed by Join Filter" in line)
