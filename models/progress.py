"""A batch as people and programs see it: the batch object of the contract."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from models.health import UPSTREAM
from models.moments import written
from models.money import USED
from models.outlook import Forecast, Standing, Waiting, fleet_pace, forecast, waiting
from models.states import WORKING_STATES, BatchStatus, JobState
from models.windows import parsed

_STATES = ", ".join(f"progress.{state}" for state in JobState)
# Jobs a second by the minutes in which some ended: whole ones, without the first and the present one.
_PACE = """
    SELECT sum(jobs) / (60.0 * count(*)) AS jobs_per_s FROM (
        SELECT jobs FROM batch_minutes
        WHERE batch_id = batch.id AND minute < date_trunc('minute', now())
          AND minute > (SELECT min(minute) FROM batch_minutes WHERE batch_id = batch.id)
        ORDER BY minute DESC LIMIT 15) AS whole
"""
# Of the bands of priority the first that has a job, as the index of admission has them.
_NEXT = """
    SELECT first.operation, first.estimate_usd FROM unnest(ARRAY[0, 1, 2]) AS band CROSS JOIN LATERAL (
        SELECT operation, estimate_usd FROM jobs WHERE state = 'queued' AND priority = band AND lane_id = batch.id
        ORDER BY due_at, id LIMIT 1) AS first
    ORDER BY band LIMIT 1
"""
_MONEY = f"""
    SELECT account.time_zone, account.budget_day_usd - used.day_usd AS left_day_usd,
           account.budget_month_usd - used.month_usd AS left_month_usd
    FROM accounts AS account CROSS JOIN LATERAL ({USED}) AS used
    WHERE account.id = batch.account_id AND coalesce(account.budget_day_usd, account.budget_month_usd) IS NOT NULL
"""
# What is only of interest while it runs is only looked for then.
_BATCH = f"""
    SELECT batch.id, batch.account_id, batch.name, batch.slug, batch.status, batch.paused_reason, batch.budget_usd,
           batch.admission_window, batch.deadline, batch.max_failure_rate,
           batch.created_at, batch.started_at, batch.finished_at, batch.cancelled_at, batch.metadata, now() AS now,
           batch.finished_at IS NULL AND batch.closes_at IS NULL AS is_filling,
           progress.total, progress.estimated_usd, progress.reserved_usd, progress.spent_usd, {_STATES},
           pace.jobs_per_s, next.operation, next.estimate_usd AS next_usd, money.time_zone, money.left_day_usd,
           money.left_month_usd, upstream.in_flight_limit, upstream.latency_s
    FROM batches AS batch JOIN batch_progress AS progress ON progress.batch_id = batch.id
    LEFT JOIN LATERAL ({_PACE}) AS pace ON batch.finished_at IS NULL
    LEFT JOIN LATERAL ({_NEXT}) AS next ON batch.finished_at IS NULL
    LEFT JOIN LATERAL ({_MONEY}) AS money ON batch.finished_at IS NULL
    LEFT JOIN upstreams AS upstream ON upstream.name = '{UPSTREAM}'
"""
_ERRORS = """
    SELECT error_code AS code, max(error_message) AS message, count(*) AS count FROM jobs
    WHERE batch_id = :id AND state IN ('failed', 'rejected', 'expired') AND superseded_at IS NULL GROUP BY error_code
    ORDER BY count(*) DESC, error_code LIMIT 5
"""
_READ = text(_BATCH + " WHERE batch.id = :id")
_READ_ERRORS = text(_ERRORS)


@dataclass(frozen=True, slots=True)
class BatchView:
    """Numbers of one snapshot: `counts` add up to `counts["total"]`. Money in USD.

    `window` as `models.windows.Window` spells it. `forecast` is None once it has ended, `waiting` unless a window or
    its account's budget alone keeps it from going on.
    """

    id: uuid.UUID
    name: str
    slug: str
    status: BatchStatus
    paused_reason: str | None
    counts: dict[str, int]
    estimated_usd: Decimal
    reserved_usd: Decimal
    spent_usd: Decimal
    budget_usd: Decimal | None
    window: str | None
    deadline: datetime | None
    max_failure_rate: float | None
    forecast: Forecast | None
    waiting: Waiting | None
    errors: list[dict[str, Any]]
    metadata: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    is_filling: bool = False  # whoever opened it has not said yet that no more jobs will join it

    @property
    def eta(self) -> datetime | None:
        return None if self.forecast is None else self.forecast.finishes_at

    @property
    def unfinished(self) -> int:
        return sum(self.counts[state] for state in JobState if not state.is_final)

    @property
    def finished(self) -> int:
        return self.counts["total"] - self.unfinished

    def as_json(self) -> dict[str, Any]:
        """The batch object of the contract."""
        return {
            "id": str(self.id),
            "name": self.name,
            "status": self.status.value,
            "paused_reason": self.paused_reason,
            "counts": self.counts,
            "cost_usd": {
                "estimated": float(self.estimated_usd),
                "reserved": float(self.reserved_usd),
                "spent": float(self.spent_usd),
            },
            "budget_usd": None if self.budget_usd is None else float(self.budget_usd),
            "window": self.window,
            "deadline": written(self.deadline),
            "max_failure_rate": self.max_failure_rate,
            "waiting_for": self.waiting and self.waiting.reason.value,
            "waits_until": self.waiting and written(self.waiting.until),
            "eta": written(self.eta),
            "forecast": self.forecast and self.forecast.as_json(),
            "errors": self.errors,
            "metadata": self.metadata,
            "created_at": written(self.created_at),
            "started_at": written(self.started_at),
            "finished_at": written(self.finished_at),
        }


def read_batch(connection: Connection, batch_id: uuid.UUID) -> BatchView | None:
    row = connection.execute(_READ, {"id": batch_id}).mappings().one_or_none()
    if row is None:
        return None
    return _view(row, [dict(error) for error in connection.execute(_READ_ERRORS, {"id": batch_id}).mappings()])


_READ_OWN = text(_BATCH + " WHERE batch.id = :id AND batch.account_id = :account")


def read_own_batch(
    connection: Connection, account_id: uuid.UUID, batch_id: uuid.UUID, *, with_errors: bool = True
) -> BatchView | None:
    """None also for a batch of another account. Without its errors it is cheap at any size."""
    row = connection.execute(_READ_OWN, {"id": batch_id, "account": account_id}).mappings().one_or_none()
    if row is None:
        return None
    errors = connection.execute(_READ_ERRORS, {"id": batch_id}).mappings().all() if with_errors else []
    return _view(row, [dict(error) for error in errors])


_READ_MANY = text(_BATCH + " WHERE batch.id = ANY(:ids)")
_READ_MANY_ERRORS = text(
    f"""
    SELECT batch.id AS batch_id, error.* FROM unnest(CAST(:ids AS uuid[])) AS batch (id)
    CROSS JOIN LATERAL ({_ERRORS.replace(":id", "batch.id")}) AS error
    ORDER BY batch_id, count DESC, code
    """
)


async def read_batches_async(connection: AsyncConnection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, BatchView]:
    """As `read_batch`, for many in two statements; those that exist, by id."""
    errors = _by_batch((await connection.execute(_READ_MANY_ERRORS, {"ids": list(ids)})).mappings())
    rows = (await connection.execute(_READ_MANY, {"ids": list(ids)})).mappings()
    return {row["id"]: _view(row, errors.get(row["id"], [])) for row in rows}


def _by_batch(rows: Iterable[RowMapping]) -> dict[uuid.UUID, list[dict[str, Any]]]:
    errors: dict[uuid.UUID, list[dict[str, Any]]] = {}
    for row in rows:
        error = {"code": row["code"], "message": row["message"], "count": row["count"]}
        errors.setdefault(row["batch_id"], []).append(error)
    return errors


_FIND = text(
    """
    SELECT id FROM batches
    WHERE account_id = :account AND (name = :word OR slug = :word OR id::text = :word)
    ORDER BY created_at DESC LIMIT 1
    """
)
_LATEST = text("SELECT id FROM batches WHERE account_id = :account ORDER BY created_at DESC LIMIT 1")


def find_batch(connection: Connection, account_id: uuid.UUID, word: str | None) -> uuid.UUID | None:
    """By id, slug or name (the newest of that name); without a word the newest of all."""
    statement = _LATEST if word is None else _FIND
    return connection.execute(statement, {"account": account_id, "word": word}).scalar_one_or_none()


_LIST = text(
    _BATCH
    + """
    WHERE batch.account_id = :account AND (CAST(:before AS uuid) IS NULL OR batch.id < :before)
      AND (CAST(:status AS text) IS NULL OR batch.status = :status)
    ORDER BY batch.id DESC LIMIT :limit
    """
)


def list_batches(
    connection: Connection,
    account_id: uuid.UUID,
    *,
    limit: int,
    before: uuid.UUID | None = None,
    status: BatchStatus | None = None,
    with_errors: bool = False,
) -> list[BatchView]:
    """Newest first; ids are in the order of their making, so `before` is a cursor. Without errors cheap at any size."""
    wanted = {"account": account_id, "limit": limit, "before": before, "status": status}
    rows = connection.execute(_LIST, wanted).mappings().all()
    ids = [row["id"] for row in rows]
    errors = _by_batch(connection.execute(_READ_MANY_ERRORS, {"ids": ids}).mappings()) if with_errors else {}
    return [_view(row, errors.get(row["id"], [])) for row in rows]


_LONE = text(
    """
    SELECT state, count(*) AS n FROM jobs
    WHERE account_id = :account AND batch_id IS NULL AND superseded_at IS NULL GROUP BY state
    """
)


def count_lone_jobs(connection: Connection, account_id: uuid.UUID) -> dict[str, int]:
    """Jobs of no batch by state; a scan, for people who ask now and then."""
    return {row.state: row.n for row in connection.execute(_LONE, {"account": account_id})}


def _view(row: RowMapping, errors: list[dict[str, Any]]) -> BatchView:
    counts = {state.value: int(row[state.value]) for state in JobState}
    status = BatchStatus(row["status"])
    standing = None if status.is_final else _standing(row, counts)
    waits = None if standing is None else waiting(standing)
    return BatchView(
        counts={**counts, "total": int(row["total"])},
        window=row["admission_window"],
        forecast=None if standing is None else forecast(standing, waits),
        waiting=waits,
        errors=errors,
        status=status,
        **{name: row[name] for name in _PLAIN},
    )


_PLAIN = (
    "id",
    "name",
    "slug",
    "paused_reason",
    "estimated_usd",
    "reserved_usd",
    "spent_usd",
    "budget_usd",
    "deadline",
    "max_failure_rate",
    "metadata",
    "created_at",
    "started_at",
    "finished_at",
    "is_filling",
)


def _standing(row: RowMapping, counts: dict[str, int]) -> Standing:
    return Standing(
        now=row["now"],
        queued=0 if row["cancelled_at"] else counts[JobState.QUEUED],
        in_flight=sum(counts[state] for state in WORKING_STATES),
        is_paused=row["paused_reason"] is not None,
        window=row["admission_window"] and parsed(row["admission_window"]),
        deadline=row["deadline"],
        jobs_per_s=_pace(row, counts),
        latency_s=row["latency_s"] or {},
        operation=row["operation"],
        next_usd=row["next_usd"],
        left_day_usd=row["left_day_usd"],
        left_month_usd=row["left_month_usd"],
        time_zone=row["time_zone"] or "UTC",
    )


def _pace(row: RowMapping, counts: dict[str, int]) -> float | None:
    """As measured of late, else on the whole, else what the fleet can do before any of its jobs has ended."""
    if row["jobs_per_s"]:
        return float(row["jobs_per_s"])
    ended = counts[JobState.SUCCEEDED] + counts[JobState.FAILED]
    if ended and row["started_at"] is not None and row["now"] > row["started_at"]:
        return float(ended / (row["now"] - row["started_at"]).total_seconds())
    return fleet_pace(row["in_flight_limit"] or 0.0, row["latency_s"] or {})
