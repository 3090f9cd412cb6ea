"""What the API answers with, for its OpenAPI; the objects themselves are made by `models`."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.problems import FaultModel
from api.requests import ENHANCE
from clients.phota_requests import Operation
from models.outlook import WaitingFor
from models.states import BatchStatus, JobState, Stage

_ID = "0192f0c1-7d3a-7c41-9d0e-2f6a3c1b5e77"
_BATCH_ID = "0192f0c1-7d39-7b02-8f11-64be0a9d2c10"


class JobSubmitted(BaseModel):
    id: str = Field(examples=[_ID])
    state: JobState
    status_url: str = Field(examples=[f"/v1/jobs/{_ID}"])
    is_new: bool = Field(description="False: the job of this `idempotency_key` was there already.")


class Output(BaseModel):
    """A finished picture. `url` may be fetched by anybody for 24 hours."""

    index: int
    bucket: str = Field(examples=["photabatch"])
    key: str = Field(examples=["trip-9d2c10/trip/1-0.jpg"])
    content_type: str = Field(examples=["image/jpeg"])
    bytes: int
    sha256: str
    width: int
    height: int
    url: str


class Attempt(BaseModel):
    """What one try of a stage met; without an `error_code` it went well."""

    stage: Stage
    started_at: datetime
    duration_ms: int
    http_status: int | None
    request_id: str | None
    error_code: str | None
    error_message: str | None


class JobError(BaseModel):
    code: str = Field(examples=["moderation_blocked"])
    message: str


class ListedJob(BaseModel):
    """A job as lists show it."""

    id: str = Field(examples=[_ID])
    batch_id: str | None = Field(examples=[_BATCH_ID])
    custom_id: str | None = Field(examples=["trip/1.jpg"])
    operation: Operation
    params: dict[str, Any] = Field(examples=[ENHANCE["params"]])
    state: JobState
    priority: Literal["interactive", "normal", "bulk"]
    generation: int = Field(description="1, and one more with each retry.")
    retry_of: str | None = Field(description="The generation before.")
    superseded_by: str | None = Field(description="The generation that counts now; null: this one does.")
    metadata: dict[str, str]
    source: dict[str, Any] | None = Field(description="Where uploaded bytes came from.")
    cost_usd: float | None
    estimate_usd: float
    known_subjects: dict[str, int]
    same_as: str | None = Field(description="Of a skipped job, the one that did the same before: its are the outputs.")
    error: JobError | None
    outputs: list[Output]
    missing_outputs: int = Field(description="Of a job that is done: how many of those ordered Phota did not give.")
    created_at: datetime
    finished_at: datetime | None


class Job(ListedJob):
    """A job and its history."""

    attempts: list[Attempt]


class JobList(BaseModel):
    data: list[ListedJob]
    has_more: bool
    next_after: str | None = Field(description="`after` of the next page.")


class Counts(BaseModel):
    """Jobs by state; they add up to `total` at every moment."""

    queued: int
    submitting: int
    running: int
    storing: int
    succeeded: int
    failed: int
    rejected: int
    cancelled: int
    expired: int
    skipped: int
    total: int


class Cost(BaseModel):
    """USD: of all jobs at most, of those in flight at most, and charged."""

    estimated: float
    reserved: float
    spent: float


class ErrorCount(BaseModel):
    code: str | None
    message: str | None
    count: int


class Forecast(BaseModel):
    """When the last job will be done, at the pace of late and within the window; null: nobody can tell."""

    finishes_at: datetime | None
    jobs_per_s: float | None = Field(examples=[1.25])
    meets_deadline: bool | None = Field(description="Null without a deadline, or while the pace is unknown.")


class Batch(BaseModel):
    id: str = Field(examples=[_BATCH_ID])
    name: str = Field(examples=["trip"])
    status: BatchStatus
    paused_reason: str | None
    counts: Counts
    cost_usd: Cost
    budget_usd: float | None
    window: str | None = Field(examples=["22:00-06:00@Europe/Paris"])
    deadline: datetime | None
    max_failure_rate: float | None
    waiting_for: WaitingFor | None = Field(description="What alone keeps it from going on, until `waits_until`.")
    waits_until: datetime | None = Field(description="Null: a call never fits into the window.")
    eta: datetime | None = Field(description="`finishes_at` of the forecast.")
    forecast: Forecast | None = Field(description="Null once it has ended.")
    errors: list[ErrorCount] = Field(description="The five commonest; lists of batches leave them out.")
    metadata: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class BatchList(BaseModel):
    data: list[Batch]
    has_more: bool
    next_after: str | None = Field(description="`after` of the next page.")


class BatchSubmitted(Batch):
    accepted: int = Field(description="Jobs that are queued now.")
    existing: int = Field(description="Jobs whose `idempotency_key` was known: not queued again.")
    invalid: int = Field(description="Jobs that were left out (`skip_invalid`).")
    status_url: str = Field(examples=[f"/v1/batches/{_BATCH_ID}"])
    errors: list[ErrorCount | FaultModel] = Field(description="With `skip_invalid`, the first 100 faults.")  # type: ignore[assignment]


class BatchCancelled(Batch):
    in_flight: int = Field(description="Jobs that are, or may be, paid for: still collected.")


class BatchRetried(Batch):
    retried: int = Field(description="Jobs that are called anew.")
    collected_again: int = Field(description="Paid or perhaps paid: asked for again, with no new charge.")
    left: dict[str, int] = Field(description="By code: perhaps paid, and too old to ask for; only with `pay_again`.")
    refused: dict[str, int] = Field(description="By code: refused before they were queued; correct and submit them.")


class Response(BaseModel):
    outputs: list[Output]
    cost_usd: float
    known_subjects: dict[str, int]


class ResultLine(BaseModel):
    """A finished job: `response` or `error`, never both."""

    id: str = Field(examples=[_ID])
    custom_id: str | None = Field(examples=["trip/1.jpg"])
    state: JobState
    response: Response | None = None
    error: JobError | None = None


class CostRange(BaseModel):
    """USD: if no profile is recognised, and if every output shows one."""

    low: float = Field(examples=[9.8])
    high: float = Field(examples=[12.25])


class EstimateWarning(BaseModel):
    code: str = Field(examples=["budget_below_high"])
    message: str


class Estimate(BaseModel):
    jobs: int = Field(description="Those that are counted: the valid ones.")
    invalid: int = Field(description="Jobs that are left out (`skip_invalid`).")
    cost_usd: CostRange
    warnings: list[EstimateWarning]
    errors: list[FaultModel] = Field([], description="With `skip_invalid`, the first 100 faults.")


class Upload(BaseModel):
    """A photo in storage, upright; the figures are those of what is stored."""

    image: str = Field(description="What a job's `params` take.", examples=["s3://photabatch/inputs/4bf5….jpg"])
    sha256: str
    bytes: int
    width: int
    height: int
    content_type: str = Field(examples=["image/jpeg"])
