"""Schedules: added, replaced, removed, and which of them are due. One transaction, opened by the caller.

Their runs are in schedule_runs.py.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from models.base import new_id
from models.moments import written
from models.run_views import RUN, RunView, run_view
from models.states import Priority

_FIELDS = (
    "cron",
    "time_zone",
    "source",
    "recipe",
    "output",
    "budget_usd",
    "admission_window",
    "priority",
    "max_failure_rate",
    "webhook_url",
    "due_at",
)
_PUT = text(
    f"""
    INSERT INTO schedules (id, account_id, name, {", ".join(_FIELDS)})
    VALUES (:id, :account, :name, :{", :".join(_FIELDS)})
    ON CONFLICT (account_id, name) WHERE removed_at IS NULL
        DO UPDATE SET {", ".join(f"{field} = excluded.{field}" for field in _FIELDS if field != "due_at")},
            due_at = CASE WHEN (schedules.cron, schedules.time_zone) = (excluded.cron, excluded.time_zone)
                     THEN least(schedules.due_at, excluded.due_at) ELSE excluded.due_at END
    RETURNING id, due_at
    """
).bindparams(bindparam("recipe", type_=JSONB))
# A trigger does it for a new one only.
_ENDPOINT = text("INSERT INTO webhook_endpoints (account_id, url) VALUES (:account, :url) ON CONFLICT DO NOTHING")


def put_schedule(
    connection: Connection, account_id: uuid.UUID, name: str, fields: Mapping[str, Any]
) -> tuple[uuid.UUID, bool, datetime]:
    """Add it, or give the one of that name these fields (its id and what it has seen stay): its id, whether it is new,
    and its next tick: that of the same clock that came and has no run yet is not lost.

    `fields`: those of `models.schedule.Schedule` from `cron` on.
    """
    wanted = new_id()
    found, due_at = connection.execute(_PUT, {"id": wanted, "account": account_id, "name": name, **fields}).one()
    if fields["webhook_url"] is not None:
        connection.execute(_ENDPOINT, {"account": account_id, "url": fields["webhook_url"]})
    return found, found == wanted, due_at


_HOLD = text(
    """
    SELECT id FROM schedules WHERE account_id = :account AND name = :name AND removed_at IS NULL FOR NO KEY UPDATE
    """
)


def hold_schedule(connection: Connection, account_id: uuid.UUID, name: str) -> uuid.UUID | None:
    """The schedule of that name, which until the commit nobody begins a run of, replaces or removes."""
    found: uuid.UUID | None = connection.scalar(_HOLD, {"account": account_id, "name": name})
    return found


@dataclass(frozen=True, slots=True)
class ScheduleRoute:
    """From where to where a schedule carries pictures. `output`: a template, None for the account's usual place."""

    account_id: uuid.UUID
    name: str
    source: str
    output: str | None


_ROUTES = text("SELECT account_id, name, source, output FROM schedules WHERE removed_at IS NULL ORDER BY id")


def schedule_routes(connection: Connection) -> list[ScheduleRoute]:
    """Of every account: their outputs may meet."""
    return [ScheduleRoute(**row) for row in connection.execute(_ROUTES).mappings()]


_REMOVE = text("UPDATE schedules SET removed_at = now(), due_at = NULL WHERE id = :id")
_FORGET = text("DELETE FROM seen_objects WHERE source_id = :id")


def remove_schedule(connection: Connection, schedule_id: uuid.UUID) -> None:
    """It is due no more, and what it has seen is forgotten. The caller has ended what lists its source."""
    connection.execute(_REMOVE, {"id": schedule_id})
    connection.execute(_FORGET, {"id": schedule_id})


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A schedule whose tick has come."""

    id: uuid.UUID
    cron: str
    time_zone: str
    due_at: datetime


# Two dispatchers that look at once do not wait for each other.
_DUE = text(
    """
    SELECT id, cron, time_zone, due_at FROM schedules WHERE due_at <= :now
    ORDER BY due_at LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED
    """
)
_DUE_AT = text("UPDATE schedules SET due_at = :due_at WHERE id = :id")


def lock_due(connection: Connection, now: datetime) -> list[DueSchedule]:
    return [DueSchedule(**row) for row in connection.execute(_DUE, {"now": now}).mappings()]


def set_due(connection: Connection, schedule_id: uuid.UUID, due_at: datetime | None) -> None:
    """Its next tick; None: it has none."""
    connection.execute(_DUE_AT, {"id": schedule_id, "due_at": due_at})


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule as people list it. `last_run`: the last that ended; `current_run`: one that has not."""

    id: uuid.UUID
    name: str
    cron: str
    time_zone: str
    source: str
    recipe: dict[str, Any]
    output: str | None
    budget_usd: Decimal | None
    admission_window: str | None
    priority: int
    max_failure_rate: float | None
    webhook_url: str | None
    due_at: datetime | None
    last_run: RunView | None
    current_run: RunView | None

    def as_json(self) -> dict[str, Any]:
        """The schedule object of the contract."""
        recipe = self.recipe
        return {
            "id": str(self.id),
            "name": self.name,
            "cron": self.cron,
            "time_zone": self.time_zone,
            "source": self.source,
            "operation": recipe["operation"],
            "params": recipe["params"],
            "include": recipe["include"],
            "exclude": recipe["exclude"],
            "output": self.output,
            "budget_usd": None if self.budget_usd is None else float(self.budget_usd),
            "window": self.admission_window,
            "priority": Priority(self.priority).name.lower(),
            "max_failure_rate": self.max_failure_rate,
            "webhook_url": self.webhook_url,
            "next_tick": written(self.due_at),
            "last_run": self.last_run and self.last_run.as_json(),
            "current_run": self.current_run and self.current_run.as_json(),
        }


_LIST = text(
    f"""
    SELECT id, name, {", ".join(_FIELDS)} FROM schedules
    WHERE account_id = :account AND removed_at IS NULL ORDER BY name
    """
)
_RUNS = text(
    f"""
    {RUN} WHERE run.id IN (
        SELECT newest.id FROM schedules AS listed CROSS JOIN LATERAL (
            (SELECT id FROM schedule_runs WHERE schedule_id = listed.id AND finished_at IS NOT NULL
             ORDER BY tick DESC LIMIT 1)
            UNION ALL
            (SELECT id FROM schedule_runs WHERE schedule_id = listed.id AND finished_at IS NULL
             ORDER BY tick DESC LIMIT 1)
        ) AS newest
        WHERE listed.account_id = :account AND listed.removed_at IS NULL)
    """
)


def list_schedules(connection: Connection, account_id: uuid.UUID) -> list[ScheduleView]:
    """By name, with what they did last and what they do now."""
    rows = connection.execute(_RUNS, {"account": account_id}).mappings()
    runs = [run_view(row) for row in rows]
    last = {run.schedule_id: run for run in runs if run.finished_at is not None}
    current = {run.schedule_id: run for run in runs if run.finished_at is None}
    return [
        ScheduleView(**row, last_run=last.get(row["id"]), current_run=current.get(row["id"]))
        for row in connection.execute(_LIST, {"account": account_id}).mappings()
    ]
