"""What the API answers with: frozen objects whose fields are called as in its JSON.

Fields that a newer server adds are passed over, and ones that it leaves out take their defaults. Moments are aware
`datetime`s. Money is `Decimal` in USD: it is added up over thousands of jobs and compared with budgets, where the
rounding of floats would show.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeVar

from photabatch.states import BatchStatus, JobState

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Output:
    """A finished picture. `url` is presigned and lives 24 hours; `bytes` is its size."""

    index: int
    url: str | None = None
    sha256: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    content_type: str = ""
    bucket: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one stage of a job."""

    stage: str
    started_at: datetime | None = None
    duration_ms: float | None = None
    http_status: int | None = None
    request_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job did not succeed; `code` is stable."""

    code: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One call to Phota. `attempts` are there only where one job was asked for.

    `same_as`: of a skipped one the job that did the same before, whose outputs it has. `missing_outputs`: of one that
    is done, how many of those ordered Phota did not give.
    """

    id: str
    state: JobState
    batch_id: str | None = None
    custom_id: str | None = None
    operation: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    priority: str | None = None
    generation: int = 1
    retry_of: str | None = None
    superseded_by: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, Any] | None = None
    cost_usd: Decimal | None = None
    estimate_usd: Decimal | None = None
    known_subjects: Mapping[str, int] = field(default_factory=dict)
    same_as: str | None = None
    error: JobError | None = None
    outputs: tuple[Output, ...] = ()
    missing_outputs: int = 0
    attempts: tuple[Attempt, ...] = ()
    created_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """`is_new` is False where the job's `idempotency_key` was known: `id` is the job of the first time."""

    id: str
    state: JobState
    status_url: str = ""
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class Counts:
    """Jobs by state; they add up to `total`."""

    queued: int = 0
    submitting: int = 0
    running: int = 0
    storing: int = 0
    succeeded: int = 0
    failed: int = 0
    rejected: int = 0
    cancelled: int = 0
    expired: int = 0
    skipped: int = 0
    total: int = 0

    @property
    def finished(self) -> int:
        return self.succeeded + self.failed + self.rejected + self.cancelled + self.expired + self.skipped


@dataclass(frozen=True, slots=True)
class Cost:
    """USD: of the whole batch as estimated, promised to jobs under way, and charged."""

    estimated: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)
    spent: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """How many jobs of a batch ended with the same `code`; the message of one of them."""

    code: str = ""
    message: str = ""
    count: int = 0


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the last job will be done, at the pace of late and within the window; None of each: nobody can tell."""

    finishes_at: datetime | None = None
    jobs_per_s: float | None = None
    meets_deadline: bool | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A snapshot of a batch. `errors`: the five commonest; `eta`: `finishes_at` of the forecast.

    `waiting_for` is `window`, `account_budget_day` or `account_budget_month` while that alone keeps it from going on,
    until `waits_until` (None where a call never fits into the window).
    """

    id: str
    status: BatchStatus
    name: str = ""
    paused_reason: str | None = None
    counts: Counts = Counts()
    cost_usd: Cost = Cost()
    budget_usd: Decimal | None = None
    window: str | None = None
    deadline: datetime | None = None
    max_failure_rate: float | None = None
    waiting_for: str | None = None
    waits_until: datetime | None = None
    eta: datetime | None = None
    forecast: Forecast | None = None
    errors: tuple[ErrorCount, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_final(self) -> bool:
        return self.status.is_final


@dataclass(frozen=True, slots=True)
class LineError:
    """What is wrong with one job of a submission: `line` from 1 in JSONL, `index` from 0 in a list."""

    code: str = ""
    message: str = ""
    param: str | None = None
    line: int | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class BatchSubmitted(Batch):
    """A batch just made: jobs `accepted` now, `existing` already by their `idempotency_key`, and `invalid`.

    `errors` says of the first hundred invalid ones what is wrong, under `line_errors`.
    """

    accepted: int = 0
    existing: int = 0
    invalid: int = 0
    status_url: str = ""
    line_errors: tuple[LineError, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchCancelled(Batch):
    """`in_flight` jobs are paid for, or may be, and still collected."""

    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class BatchRetried(Batch):
    """Jobs called anew (`retried`) and asked for again without a new charge (`collected_again`).

    By code: `left` are those that may be paid for and are too old to ask for (only with `pay_again`), `refused` those
    that were never valid (to be submitted anew).
    """

    retried: int = 0
    collected_again: int = 0
    left: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """A finished job of a batch: `outputs`, or `error`."""

    id: str
    state: JobState
    custom_id: str | None = None
    outputs: tuple[Output, ...] = ()
    cost_usd: Decimal = Decimal(0)
    known_subjects: Mapping[str, int] = field(default_factory=dict)
    error: JobError | None = None


@dataclass(frozen=True, slots=True)
class CostRange:
    """USD, at least and at most."""

    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class EstimateWarning:
    """Something about jobs that would be taken, but perhaps not as meant."""

    code: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a submission would cost; nothing is queued. With `skip_invalid`, `jobs` are those that are valid.

    `line_errors` says of the first hundred of the `invalid` ones what is wrong.
    """

    jobs: int
    cost_usd: CostRange
    warnings: tuple[EstimateWarning, ...] = ()
    invalid: int = 0
    line_errors: tuple[LineError, ...] = ()


@dataclass(frozen=True, slots=True)
class Upload:
    """A photo in storage, turned upright. `image` is what a job's `params` take."""

    image: str
    sha256: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; `next_after` asks for the next."""

    data: tuple[T, ...]
    has_more: bool = False
    next_after: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A photo of a folder that is not in its batch: no picture, too large, or not readable here.

    `message` does not repeat the name.
    """

    path: Path
    custom_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class FolderSubmitted:
    """The batch of a folder's photos, and the photos that were refused."""

    batch: BatchSubmitted
    refused: tuple[Refused, ...] = ()
