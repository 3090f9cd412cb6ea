"""What a batch brought forth, job by job; streamed, so a million is no more than one."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from models.states import JobState

_PAGE = 500

# In json, which keeps the order of its keys.
OUTPUTS_OF_JOB = """
    coalesce((SELECT json_agg(json_build_object(
        'index', index, 'bucket', bucket, 'key', key, 'content_type', content_type, 'bytes', bytes,
        'sha256', sha256, 'width', width, 'height', height) ORDER BY index)
        FROM outputs WHERE outputs.job_id = coalesce(job.same_as, job.id)), '[]')
"""
_JOBS = text(
    f"""
    SELECT job.id, job.custom_id, job.operation, job.state, job.cost_usd, job.known_subjects, job.source,
           job.error_code, job.error_message, job.created_at, job.finished_at, {OUTPUTS_OF_JOB} AS outputs
    FROM jobs AS job
    WHERE job.batch_id = :batch_id AND job.finished_at IS NOT NULL AND job.superseded_at IS NULL AND job.id > :after
    ORDER BY job.id LIMIT :limit
    """
)


@dataclass(frozen=True, slots=True)
class JobResult:
    """A finished job. `outputs`: the objects of `models.output.Output` as plain values."""

    id: uuid.UUID
    custom_id: str | None
    operation: str
    state: JobState
    cost_usd: Decimal | None
    known_subjects: dict[str, int] | None
    source: dict[str, Any] | None
    error_code: str | None
    error_message: str | None
    created_at: datetime
    finished_at: datetime
    outputs: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """A result line of the contract: `response` or `error`, never both."""
        line: dict[str, Any] = {"id": str(self.id), "custom_id": self.custom_id, "state": self.state.value}
        if self.state.is_good:
            return line | {
                "response": {
                    "outputs": self.outputs,
                    "cost_usd": float(self.cost_usd or 0),
                    "known_subjects": self.known_subjects or {},
                }
            }
        code = self.error_code or self.state.value
        return line | {"error": {"code": code, "message": self.error_message or f"the job is {self.state}"}}


def finished_page(connection: Connection, batch_id: uuid.UUID, *, after: uuid.UUID) -> list[JobResult]:
    """The next finished jobs behind the id `after`; an empty list: those were all."""
    rows = connection.execute(_JOBS, {"batch_id": batch_id, "after": after, "limit": _PAGE}).mappings()
    return [JobResult(**{**row, "state": JobState(row["state"])}) for row in rows]


def finished_jobs(connection: Connection, batch_id: uuid.UUID) -> Iterator[JobResult]:
    """Finished jobs in the order of their making; also while the batch runs."""
    after = uuid.UUID(int=0)
    while page := finished_page(connection, batch_id, after=after):
        yield from page
        after = page[-1].id


_CUSTOM_IDS = text(
    "SELECT custom_id FROM jobs WHERE batch_id = :batch_id AND custom_id IS NOT NULL AND superseded_at IS NULL"
)


def custom_ids(connection: Connection, batch_id: uuid.UUID) -> set[str]:
    return set(connection.execute(_CUSTOM_IDS, {"batch_id": batch_id}).scalars())
