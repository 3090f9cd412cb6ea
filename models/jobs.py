"""Jobs as their account sees them: one with its history, or a page of a batch."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from models.moments import written
from models.results import OUTPUTS_OF_JOB
from models.states import JobState, Priority

_JOB = f"""
    SELECT job.id, job.batch_id, job.custom_id, job.operation, job.params, job.state, job.priority, job.generation,
           job.retry_of, job.metadata, job.source, job.cost_usd, job.estimate_usd, job.known_subjects,
           job.same_as, job.error_code, job.error_message, job.created_at, job.finished_at,
           (SELECT next.id FROM jobs AS next WHERE next.retry_of = job.id LIMIT 1) AS superseded_by,
           {OUTPUTS_OF_JOB} AS outputs
"""
_ATTEMPTS = """
    coalesce((SELECT json_agg(json_build_object(
        'stage', stage, 'started_at', started_at, 'duration_ms', duration_ms, 'http_status', http_status,
        'request_id', request_id, 'error_code', error_code, 'error_message', error_message) ORDER BY id)
        FROM attempts WHERE attempts.job_id = job.id), '[]')
"""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job. `outputs` and `attempts`: the objects of their tables as plain values; None: not asked for."""

    id: uuid.UUID
    batch_id: uuid.UUID | None
    custom_id: str | None
    operation: str
    params: dict[str, Any]
    state: JobState
    priority: Priority
    generation: int
    retry_of: uuid.UUID | None
    superseded_by: uuid.UUID | None
    metadata: dict[str, str]
    source: dict[str, Any] | None
    cost_usd: Decimal | None
    estimate_usd: Decimal
    known_subjects: dict[str, int] | None
    same_as: uuid.UUID | None
    error_code: str | None
    error_message: str | None
    created_at: datetime
    finished_at: datetime | None
    outputs: list[dict[str, Any]]
    attempts: list[dict[str, Any]] | None = None

    def as_json(self) -> dict[str, Any]:
        """The job object of the contract, its outputs without their URLs."""
        job = {
            "id": str(self.id),
            "batch_id": _text(self.batch_id),
            "custom_id": self.custom_id,
            "operation": self.operation,
            "params": self.params,
            "state": self.state.value,
            "priority": self.priority.name.lower(),
            "generation": self.generation,
            "retry_of": _text(self.retry_of),
            "superseded_by": _text(self.superseded_by),
            "metadata": self.metadata,
            "source": self.source,
            "cost_usd": None if self.cost_usd is None else float(self.cost_usd),
            "estimate_usd": float(self.estimate_usd),
            "known_subjects": self.known_subjects or {},
            "same_as": _text(self.same_as),
            "error": self._error(),
            "outputs": self.outputs,
            "missing_outputs": self._missing(),
            "created_at": written(self.created_at),
            "finished_at": written(self.finished_at),
        }
        return job if self.attempts is None else job | {"attempts": [_attempt(each) for each in self.attempts]}

    def _missing(self) -> int:
        """Pictures that were ordered and that Phota's answer did not have."""
        return max(0, self.params.get("num_output_images", 1) - len(self.outputs)) if self.state.is_good else 0

    def _error(self) -> dict[str, str] | None:
        if self.error_code is None:
            return None
        return {"code": self.error_code, "message": self.error_message or f"the job is {self.state}"}


_READ = text(f"{_JOB}, {_ATTEMPTS} AS attempts FROM jobs AS job WHERE job.id = :id AND job.account_id = :account")


def read_job(connection: Connection, account_id: uuid.UUID, job_id: uuid.UUID) -> JobView | None:
    """With its attempts; None also for a job of another account."""
    row = connection.execute(_READ, {"id": job_id, "account": account_id}).mappings().one_or_none()
    return None if row is None else _view(row)


_LIST = text(
    f"""
    {_JOB} FROM jobs AS job
    WHERE job.batch_id = :batch AND job.account_id = :account AND job.superseded_at IS NULL
      AND (CAST(:after AS uuid) IS NULL OR job.id > :after)
      AND (CAST(:state AS text) IS NULL OR job.state = :state)
      AND (CAST(:code AS text) IS NULL OR job.error_code = :code)
    ORDER BY job.id LIMIT :limit
    """
)


def list_jobs(
    connection: Connection,
    account_id: uuid.UUID,
    batch_id: uuid.UUID,
    *,
    state: JobState | None = None,
    code: str | None = None,
    limit: int,
    after: uuid.UUID | None = None,
) -> list[JobView]:
    """Those that count for the batch, in order of id, which is that of their making; without attempts."""
    wanted = {"batch": batch_id, "account": account_id, "state": state, "code": code, "limit": limit, "after": after}
    return [_view(row) for row in connection.execute(_LIST, wanted).mappings()]


_LONE = text(
    f"""
    {_JOB} FROM jobs AS job
    WHERE job.batch_id IS NULL AND job.account_id = :account AND job.superseded_at IS NULL
    ORDER BY job.id DESC LIMIT :limit
    """
)


def list_lone_jobs(connection: Connection, account_id: uuid.UUID, *, limit: int) -> list[JobView]:
    """Those of no batch, the newest first; without attempts."""
    return [_view(row) for row in connection.execute(_LONE, {"account": account_id, "limit": limit}).mappings()]


def _view(row: RowMapping) -> JobView:
    return JobView(**{**row, "state": JobState(row["state"]), "priority": Priority(row["priority"])})


def _attempt(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"started_at": written(datetime.fromisoformat(row["started_at"]))}


def _text(value: uuid.UUID | None) -> str | None:
    return None if value is None else str(value)
