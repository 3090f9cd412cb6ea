"""A run of a schedule as people and programs see it: in `schedule list`, and in the event that tells of its end."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from models.moments import written
from models.schedule import RunState
from models.schedule_runs import TALLY

RUN = f"""
    SELECT run.id, run.schedule_id, schedule.name AS schedule_name, run.tick, run.state, run.batch_id,
           batch.name AS batch_name, run.seen, run.found, {
    ", ".join(
        f"CASE WHEN run.finished_at IS NULL THEN {live} ELSE run.{name} END AS {name}" for name, live in TALLY.items()
    )
},
           run.ended_by, run.error, run.started_at, run.finished_at, schedule.due_at AS next_tick
    FROM schedule_runs AS run JOIN schedules AS schedule ON schedule.id = run.schedule_id
    LEFT JOIN batches AS batch ON batch.id = run.batch_id
    LEFT JOIN batch_progress AS progress ON progress.batch_id = run.batch_id AND run.finished_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class RunView:
    """One run; while it goes on, with the numbers of this moment. `next_tick` is the schedule's."""

    id: uuid.UUID
    schedule_id: uuid.UUID
    schedule_name: str
    tick: datetime
    state: RunState
    batch_id: uuid.UUID | None
    batch_name: str | None
    seen: int
    found: int
    done: int
    failed: int
    carried_over: int
    spent_usd: Decimal
    ended_by: str | None
    error: str | None
    started_at: datetime
    finished_at: datetime | None
    next_tick: datetime | None

    def as_json(self) -> dict[str, Any]:
        """The run object of the contract."""
        return {
            "id": str(self.id),
            "schedule": {"id": str(self.schedule_id), "name": self.schedule_name},
            "tick": written(self.tick),
            "state": self.state.value,
            "batch": {"id": str(self.batch_id), "name": self.batch_name} if self.batch_id else None,
            "seen": self.seen,
            "found": self.found,
            "done": self.done,
            "failed": self.failed,
            "carried_over": self.carried_over,
            "spent_usd": float(self.spent_usd),
            "ended_by": self.ended_by,
            "error": self.error,
            "started_at": written(self.started_at),
            "finished_at": written(self.finished_at),
            "next_tick": written(self.next_tick),
        }


def run_view(row: RowMapping) -> RunView:
    """Of a row of `RUN`."""
    counts = {name: row[name] or 0 for name in ("seen", "found")}
    return RunView(**{**row, **counts, "state": RunState(row["state"])})


_READ = text(f"{RUN} WHERE run.id = ANY(:ids)")


async def read_runs_async(connection: AsyncConnection, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, RunView]:
    """Those that exist, by id."""
    rows = (await connection.execute(_READ, {"ids": list(ids)})).mappings()
    return {row["id"]: run_view(row) for row in rows}
