"""What a webhook event tells: built from the rows at delivery, so it is never staler than its message."""

import uuid
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from models.outbox import ClaimedDelivery
from models.progress import read_batch_async

_JOB = text(
    """
    SELECT job.id, job.custom_id, job.operation, job.state, job.cost_usd, job.error_code, job.error_message,
           job.metadata, job.created_at, job.finished_at, job.known_subjects, batch.id AS batch_id,
           batch.name AS batch_name
    FROM jobs AS job LEFT JOIN batches AS batch ON batch.id = job.batch_id WHERE job.id = :id
    """
)
_OUTPUTS = text(
    "SELECT index, bucket, key, content_type, bytes, sha256, width, height FROM outputs WHERE job_id = :id "
    "ORDER BY index"
)


async def event_data(connection: AsyncConnection, delivery: ClaimedDelivery) -> dict[str, Any]:
    """The `data` member: a job with its outputs, or a batch as the HTTP API shows it. Plain JSON values."""
    if delivery.job_id:
        return await _job(connection, delivery.job_id)
    assert delivery.batch_id is not None, "a delivery tells of a job or of a batch"  # noqa: S101
    batch = await read_batch_async(connection, delivery.batch_id)
    return batch.as_json() if batch else {"id": str(delivery.batch_id)}


async def _job(connection: AsyncConnection, job_id: uuid.UUID) -> dict[str, Any]:
    job = (await connection.execute(_JOB, {"id": job_id})).mappings().one()
    outputs = (await connection.execute(_OUTPUTS, {"id": job_id})).mappings()
    data: dict[str, Any] = {
        "id": str(job["id"]),
        "batch": job["batch_id"] and {"id": str(job["batch_id"]), "name": job["batch_name"]},
        "custom_id": job["custom_id"],
        "operation": job["operation"],
        "state": job["state"],
        "metadata": job["metadata"],
        "created_at": job["created_at"].isoformat(),
        "finished_at": job["finished_at"].isoformat(),
    }
    if job["error_code"]:
        return data | {"error": {"code": job["error_code"], "message": job["error_message"]}}
    return data | {
        "cost_usd": float(job["cost_usd"] or 0),
        "known_subjects": job["known_subjects"] or {},
        "outputs": [dict(output) for output in outputs],
    }
