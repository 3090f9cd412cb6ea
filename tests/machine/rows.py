"""The table `jobs` in memory: the columns that drive a job, its CHECKs, and the counts that triggers keep."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from models.states import IN_FLIGHT_STATES, JobState

FREE = Decimal(0)


@dataclass(slots=True)
class Row:
    """A job; moments in seconds of the table's clock, names as in models/job.py."""

    id: uuid.UUID
    account_id: uuid.UUID
    batch_id: uuid.UUID | None
    operation: str
    params: dict[str, Any]
    output: str
    estimate_usd: Decimal
    client_request_id: str
    due_at: float | None
    custom_id: str | None = None
    priority: int = 1
    state: str = "queued"
    hold: str = "idle"
    version: int = 0
    attempt: int = 0
    claims: int = 0
    is_woken: bool = False
    is_paid_again: bool = False
    generation: int = 1
    retry_of: uuid.UUID | None = None
    superseded_at: float | None = None
    admitted_at: float | None = None
    requested_at: float | None = None
    accepted_at: float | None = None
    remote_job_id: str | None = None
    poll_url: str | None = None
    result_urls: list[str] | None = None
    cost_usd: Decimal | None = None
    error_code: str | None = None
    expires_at: float | None = None
    finished_at: float | None = None
    source: None = None

    @property
    def lane_id(self) -> uuid.UUID:
        return self.batch_id or self.account_id

    @property
    def is_final(self) -> bool:
        return self.state in _FINAL

    @property
    def faults(self) -> list[str]:
        """The CHECK constraints that it breaks."""
        held = {
            "final_is_never_due": self.is_final == (self.due_at is None),
            "final_is_finished": self.is_final == (self.finished_at is not None),
            "queued_is_uncharged": self.state != "queued" or self.requested_at is None,
            "succeeded_is_charged": self.state != "succeeded" or self.cost_usd is not None,
        }
        return [name for name, holds in held.items() if not holds]


_FINAL = frozenset(state.value for state in JobState if state.is_final)
_IN_FLIGHT = frozenset(state.value for state in IN_FLIGHT_STATES)


@dataclass(slots=True)
class Batch:
    """What admission and people look at."""

    id: uuid.UUID
    slug: str = "batch"
    budget_usd: Decimal | None = None
    deadline: float | None = None
    cancelled_at: float | None = None
    paused_at: float | None = None
    finished_at: float | None = None


@dataclass(slots=True)
class Count:
    """Jobs that count in a state, their estimates, and what was paid for in it."""

    jobs: int = 0
    estimate_usd: Decimal = FREE
    cost_usd: Decimal = FREE


@dataclass(slots=True)
class Stored:
    bucket: str
    key: str
    sha256: str


@dataclass(slots=True)
class Table:
    """All rows; `now` is the database's clock, which nobody else's can move."""

    now: float = 0.0
    transaction: int = 0  # the number of the last one
    aborted: set[str] = field(default_factory=set)  # of those that workers ask about
    jobs: dict[uuid.UUID, Row] = field(default_factory=dict)
    by_text: dict[str, uuid.UUID] = field(default_factory=dict)  # JSON has no UUIDs
    batches: dict[uuid.UUID, Batch] = field(default_factory=dict)
    outputs: dict[tuple[uuid.UUID, int], Stored] = field(default_factory=dict)
    attempts: dict[uuid.UUID, int] = field(default_factory=dict)
    counts: dict[str, Count] = field(default_factory=dict)  # of all batches: the machine has one
    ended: list[tuple[uuid.UUID, str]] = field(default_factory=list)  # what the outbox is told
    faults: list[str] = field(default_factory=list)  # that Postgres would have refused

    def add(self, row: Row) -> None:
        self.jobs[row.id] = row
        self.by_text[str(row.id)] = row.id
        self._count(row, 1)

    def where(self, wanted: Callable[[Row], object], *, ids: Sequence[uuid.UUID] | None = None) -> list[Row]:
        rows = self.jobs.values() if ids is None else [self.jobs[each] for each in dict.fromkeys(ids)]
        return [row for row in rows if wanted(row)]

    @contextmanager
    def changing(self, row: Row) -> Iterator[None]:
        """What a trigger on UPDATE does: counts, and the event of what has ended."""
        was_final = row.finished_at is not None
        self._count(row, -1)
        yield
        self._count(row, 1)
        self.faults += [f"{name}: {row}" for name in row.faults]
        if row.finished_at is not None and not was_final:
            self.ended.append((row.id, row.state))

    def _count(self, row: Row, sign: int) -> None:
        count = self.counts.get(row.state) or self.counts.setdefault(row.state, Count())
        if row.superseded_at is None:
            count.jobs += sign
            count.estimate_usd += sign * row.estimate_usd
        count.cost_usd += sign * (row.cost_usd or FREE)

    @property
    def spent_usd(self) -> Decimal:
        return sum((count.cost_usd for count in self.counts.values()), FREE)

    @property
    def reserved_usd(self) -> Decimal:
        return sum((count.estimate_usd for state, count in self.counts.items() if state in _IN_FLIGHT), FREE)
