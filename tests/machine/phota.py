"""Phota in memory: what it charges, and what it remembers. It answers as clients/phota.py does."""

from collections import Counter
from dataclasses import dataclass, field

from clients.phota import Handle, JobFailed, JobLost, Rejected, ResultExpired, Results, Waiting

MEMORY_S = 24 * 3600.0  # so long the same client_request_id is the same job: what worker/submit.py relies on
LINKS_S = 24 * 3600.0
DAMAGED = b"half a picture"


@dataclass(slots=True)
class RemoteJob:
    """`end`: done, failed or refused (both refunded); None while it runs. `is_stuck`: for hours, unless helped."""

    id: str
    client_request_id: str
    asked_at: float
    outputs: int
    end: str | None = None
    is_stuck: bool = False
    is_forgotten: bool = False


@dataclass(slots=True)
class Phota:
    """One account. `charges`: by client_request_id, refunds taken off."""

    now: float = 0.0
    jobs: dict[str, RemoteJob] = field(default_factory=dict)
    known: dict[str, RemoteJob] = field(default_factory=dict)
    charges: Counter[str] = field(default_factory=Counter)
    links_from: float = 0.0  # older links are worth nothing

    def submit(self, client_request_id: str, outputs: int) -> Handle:
        """Charged once while it is remembered."""
        job = self.known.get(client_request_id)
        if job is None or self.now - job.asked_at > MEMORY_S:
            job = self.known[client_request_id] = self._begin(client_request_id, outputs)
        return Handle(job.id, f"https://phota/jobs/{job.id}")

    def call(self, client_request_id: str, outputs: int, *, is_inline: bool) -> Results:
        """Charged each time: whether an id has any effect without `async` is unknown."""
        job = self._begin(client_request_id, outputs)
        job.end = "done"
        return self._results(job, is_inline=is_inline)

    def refund_last(self) -> None:
        """The synchronous call that was just made took too long."""
        job = next(reversed(self.jobs.values()))
        self._end(job, "failed")

    def poll(self, poll_url: str) -> Waiting | Results:
        job = self.jobs[poll_url.rpartition("/")[2]]
        if job.is_forgotten:
            raise JobLost("Phota answered 404", code="job_lost")
        if job.end == "failed":
            raise JobFailed("Phota ended the job", code="model_overloaded")
        if job.end == "refused":
            raise Rejected("moderation", code="content_moderation")
        return self._results(job, is_inline=False) if job.end else Waiting()

    def download(self, url: str) -> bytes:
        _, remote_id, index, asked_at = url.rsplit("/", 3)
        if float(asked_at) < max(self.links_from, self.now - LINKS_S):
            raise ResultExpired("the download answered 403", code="result_expired")
        return picture(remote_id, int(index))

    def finish(self, job: RemoteJob, end: str) -> None:
        """What has ended once stays so."""
        if job.end is None:
            self._end(job, end)

    def forget(self, *, age_s: float) -> int:
        """Jobs that have ended and are older than that; how many there were."""
        old = [
            job for job in self.jobs.values() if job.end and not job.is_forgotten and self.now - job.asked_at > age_s
        ]
        for job in old:
            job.is_forgotten = True
        return len(old)

    @property
    def running(self) -> list[RemoteJob]:
        return [job for job in self.jobs.values() if job.end is None]

    def _begin(self, client_request_id: str, outputs: int) -> RemoteJob:
        job = RemoteJob(f"r{len(self.jobs)}", client_request_id, self.now, outputs)
        self.jobs[job.id] = job
        self.charges[client_request_id] += 1
        return job

    def _end(self, job: RemoteJob, end: str) -> None:
        job.end = end
        if end != "done":
            self.charges[job.client_request_id] -= 1

    def _results(self, job: RemoteJob, *, is_inline: bool) -> Results:
        numbers = range(job.outputs)
        if is_inline:
            return Results([], [picture(job.id, index) for index in numbers], {})
        return Results([f"https://cdn/{job.id}/{index}/{self.now}" for index in numbers], [], {})


def picture(remote_id: str, index: int) -> bytes:
    """Different for every call that was paid for."""
    return f"picture {index} of {remote_id}".encode()
