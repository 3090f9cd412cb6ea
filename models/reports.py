"""Every job of a batch with what it took and brought, for the report of a batch; page by page."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from models.base import quoted
from models.moments import written
from models.results import OUTPUTS_OF_JOB, JobResult
from models.states import JobState

_PAGE = 500
_GOOD = quoted(tuple(state for state in JobState if state.is_good))

# The last request id is picked from an aggregate: with ORDER BY id LIMIT 1 the planner may choose to walk the whole
# history backwards by its primary key.
_JOBS = text(
    f"""
    SELECT job.id, job.custom_id, job.operation, job.generation, job.state, job.source,
           coalesce(job.params->>'image', job.params->>'input_image', job.params->'images'->>0) AS image,
           job.cost_usd, job.estimate_usd, job.known_subjects, job.error_code, job.error_message, job.same_as,
           attempt.request_id, job.created_at, job.finished_at, {OUTPUTS_OF_JOB} AS outputs,
           CASE WHEN job.state IN ({_GOOD}) THEN coalesce((job.params->>'num_output_images')::int, 1)
                ELSE 0 END AS ordered
    FROM jobs AS job CROSS JOIN LATERAL (
        SELECT (array_agg(request_id ORDER BY id DESC))[1] AS request_id
        FROM attempts WHERE attempts.job_id = job.id AND request_id IS NOT NULL
    ) AS attempt
    WHERE job.batch_id = :batch_id AND job.superseded_at IS NULL AND job.id > :after
    ORDER BY job.id LIMIT :limit
    """
)


@dataclass(frozen=True, slots=True)
class JobReport:
    """A job that counts for its batch, finished or not. Money in USD.

    `image`: the address of the first picture it works on; `source` where uploaded bytes came from. `outputs`: the
    objects of `models.output.Output`, of a skipped job those of `same_as`. `ordered`: how many a job that is done
    should have. `request_id`: Phota's, of the last attempt that has one.
    """

    id: uuid.UUID
    custom_id: str | None
    operation: str
    generation: int
    state: JobState
    source: dict[str, Any] | None
    image: str | None
    cost_usd: Decimal | None
    estimate_usd: Decimal
    known_subjects: dict[str, int] | None
    error_code: str | None
    error_message: str | None
    same_as: uuid.UUID | None
    request_id: str | None
    created_at: datetime
    finished_at: datetime | None
    outputs: list[dict[str, Any]]
    ordered: int = 0

    def as_json(self) -> dict[str, Any]:
        """A report line of the contract; its names are the header of the CSV."""
        source = self.source or {}
        return {
            "custom_id": self.custom_id,
            "source": source.get("path", self.image),
            "source_bytes": source.get("bytes"),
            "source_sha256": source.get("sha256"),
            "state": self.state.value,
            "output_count": len(self.outputs),
            "outputs": [f"s3://{output['bucket']}/{output['key']}" for output in self.outputs],
            "error_code": self.error_code,
            "error_message": self.error_message,
            "cost_usd": self._cost_usd(),
            "estimate_usd": float(self.estimate_usd),
            "operation": self.operation,
            "generation": self.generation,
            "id": str(self.id),
            "same_as": None if self.same_as is None else str(self.same_as),
            "request_id": self.request_id,
            "created_at": written(self.created_at),
            "finished_at": written(self.finished_at),
            "missing_outputs": max(0, self.ordered - len(self.outputs)),
        }

    def _cost_usd(self) -> float | None:
        if self.state is JobState.SKIPPED:
            return 0.0
        return None if self.cost_usd is None else float(self.cost_usd)

    def as_result(self) -> JobResult | None:
        """As `models.results` reads it; None while it is not finished."""
        if self.finished_at is None:
            return None
        return JobResult(
            id=self.id,
            custom_id=self.custom_id,
            operation=self.operation,
            state=self.state,
            cost_usd=self.cost_usd,
            known_subjects=self.known_subjects,
            source=self.source,
            error_code=self.error_code,
            error_message=self.error_message,
            created_at=self.created_at,
            finished_at=self.finished_at,
            outputs=self.outputs,
        )


def report_page(connection: Connection, batch_id: uuid.UUID, *, after: uuid.UUID) -> list[JobReport]:
    """The next jobs behind the id `after`; an empty list: those were all."""
    rows = connection.execute(_JOBS, {"batch_id": batch_id, "after": after, "limit": _PAGE}).mappings()
    return [JobReport(**{**row, "state": JobState(row["state"])}) for row in rows]
