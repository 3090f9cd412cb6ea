"""What webhook events tell: built from the rows at delivery, so it is never staler than its message."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from models.moments import written
from models.outbox import ClaimedDelivery
from models.progress import BatchView, read_batches_async
from models.results import OUTPUTS_OF_JOB
from models.run_views import RunView, read_runs_async
from models.states import BATCH_OUTCOMES, BatchStatus, JobState

JOB_EVENTS = tuple(f"job.{state}" for state in JobState if state.is_final and state is not JobState.SKIPPED)
BATCH_EVENTS = ("batch.started", f"batch.{BatchStatus.PAUSED}", *(f"batch.{status}" for status in BATCH_OUTCOMES))
SCHEDULE_EVENTS = ("schedule.finished",)
EVENT_TYPES = JOB_EVENTS + BATCH_EVENTS + SCHEDULE_EVENTS  # what an endpoint may ask for
PING = "webhook.ping"
DIGEST = "job.digest"
Events = dict[uuid.UUID, dict[str, Any]]  # the `data` member by delivery

_JOBS = text(
    f"""
    SELECT job.id, job.custom_id, job.operation, job.state, job.cost_usd, job.error_code, job.error_message,
           job.metadata, job.created_at, job.finished_at, job.known_subjects, batch.id AS batch_id,
           batch.name AS batch_name, {OUTPUTS_OF_JOB} AS outputs
    FROM jobs AS job LEFT JOIN batches AS batch ON batch.id = job.batch_id
    WHERE job.id = ANY(:ids)
    """
)


async def read_events(connection: AsyncConnection, deliveries: Sequence[ClaimedDelivery]) -> Events:
    """What each tells: a job with its outputs, a batch as the HTTP API shows it, or a schedule's run. Plain JSON."""
    jobs = await _read_jobs(connection, {each.job_id for each in deliveries if each.job_id})
    wanted = {each.batch_id for each in deliveries if each.batch_id and not each.job_id}
    batches = await read_batches_async(connection, list(wanted)) if wanted else {}
    runs = await _read_runs(connection, {each.schedule_run_id for each in deliveries if each.schedule_run_id})
    return {each.id: _data(each, jobs, batches, runs) for each in deliveries}


def _data(
    delivery: ClaimedDelivery,
    jobs: Mapping[uuid.UUID, dict[str, Any]],
    batches: Mapping[uuid.UUID, BatchView],
    runs: Mapping[uuid.UUID, RunView],
) -> dict[str, Any]:
    if delivery.job_id:
        return jobs.get(delivery.job_id) or {"id": str(delivery.job_id)}  # deleted a moment ago
    if delivery.batch_id:
        batch = batches.get(delivery.batch_id)
        return batch.as_json() if batch else {"id": str(delivery.batch_id)}
    if delivery.schedule_run_id:
        run = runs.get(delivery.schedule_run_id)
        return run.as_json() if run else {"id": str(delivery.schedule_run_id)}
    return {"endpoint_id": str(delivery.endpoint_id)}  # of a ping


async def _read_jobs(connection: AsyncConnection, ids: set[uuid.UUID]) -> dict[uuid.UUID, dict[str, Any]]:
    if not ids:
        return {}
    rows = (await connection.execute(_JOBS, {"ids": list(ids)})).mappings()
    return {row["id"]: _job(row) for row in rows}


async def _read_runs(connection: AsyncConnection, ids: set[uuid.UUID]) -> dict[uuid.UUID, RunView]:
    return await read_runs_async(connection, ids) if ids else {}


def _job(row: RowMapping) -> dict[str, Any]:
    data: dict[str, Any] = {
        "id": str(row["id"]),
        "batch": row["batch_id"] and {"id": str(row["batch_id"]), "name": row["batch_name"]},
        "custom_id": row["custom_id"],
        "operation": row["operation"],
        "state": row["state"],
        "metadata": row["metadata"],
        "created_at": written(row["created_at"]),
        "finished_at": written(row["finished_at"]),
    }
    if row["error_code"]:
        return data | {"error": {"code": row["error_code"], "message": row["error_message"]}}
    return data | {
        "cost_usd": float(row["cost_usd"] or 0),
        "known_subjects": row["known_subjects"] or {},
        "outputs": row["outputs"],
    }
