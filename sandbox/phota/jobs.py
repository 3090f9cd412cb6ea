"""Jobs and who asked for them."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from sandbox.phota.errors import PhotaError, not_found
from sandbox.phota.requests import Order


@dataclass(slots=True)
class Job:
    """One accepted request, synchronous ones too. Times are Unix seconds."""

    order: Order
    fingerprint: str
    base_url: str
    """Root that the client called, without a slash at the end: a callback offers the pictures under the same one."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created_at: float = field(default_factory=time.time)
    status: str = "queued"
    """queued, running, succeeded or failed."""
    error: dict[str, Any] | None = None
    error_status: int = 500
    counts: dict[str, int] = field(default_factory=dict)
    cents: int = 0
    finished_at: float | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def blob(self, index: int) -> str:
        return f"{self.id}-{index}.{self.order.format}"

    def end(self, status: str, *, at: float) -> None:
        """What the client sent is not needed any more, and can be megabytes."""
        self.status, self.finished_at, self.order = status, at, replace(self.order, sources=())
        self.done.set()

    def record(self) -> dict[str, Any]:
        """As the journal keeps it; the sources stand in a blob of their own."""
        fields = {name: getattr(self, name) for name in ("id", "fingerprint", "base_url", "created_at")}
        return fields | {"order": asdict(replace(self.order, sources=()))}

    @classmethod
    def restore(cls, fields: dict[str, Any]) -> Self:
        order = dict(fields.pop("order"))
        profiles = tuple(order.pop("profiles"))
        return cls(order=Order(**order | {"profiles": profiles, "sources": ()}), **fields)

    def overview(self) -> dict[str, Any]:
        """As `GET /_sim/jobs` shows it."""
        names = ("id", "status", "error", "created_at", "finished_at")
        fields = {name: getattr(self, name) for name in names} | {"cost_usd": self.cents / 100}
        who = {"operation": self.order.operation, "client_request_id": self.order.client_request_id}
        return fields | who | {"params": self.order.summary()}


class JobBook:
    """All jobs, by id and by the id their client gave."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._by_request: dict[str, Job] = {}

    def add(self, job: Job) -> None:
        self._jobs[job.id] = job
        if job.order.client_request_id:
            self._by_request[job.order.client_request_id] = job

    def get(self, job_id: str) -> Job:
        """Raise PhotaError 404."""
        try:
            return self._jobs[job_id]
        except KeyError:
            raise not_found(f"job {job_id}") from None

    def repeat_of(self, order: Order, *, fingerprint: str, oldest: float) -> Job | None:
        """The job this order repeats, if it was made after `oldest`; PhotaError 409 for another order with its id."""
        job = self._by_request.get(order.client_request_id or "")
        if job is None or job.created_at < oldest:
            return None
        if job.fingerprint != fingerprint:
            raise PhotaError(409, "CONFLICT", "client_request_id was used for another request")
        return job

    def forget_request(self, job: Job) -> None:
        """Let its client try again under the same id."""
        self._by_request.pop(job.order.client_request_id or "", None)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())
