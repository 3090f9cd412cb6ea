"""Verbs: what can become of a job in hand, each a `Move`. Nothing else in the worker names a target state."""

from decimal import Decimal

from clients.phota import Handle, Results
from models.claims import LEASE_S, ClaimedJob, Move, StoredOutput
from models.states import Hold, JobState


def submitted(job: ClaimedJob, handle: Handle, *, look_in_s: float) -> Move:
    """Phota has it."""
    return Move(
        job.id,
        job.version,
        JobState.RUNNING,
        look_in_s,
        accepted=True,
        remote_job_id=handle.job_id,
        poll_url=handle.poll_url,
        http_status=handle.http_status,
        request_id=handle.request_id,
    )


def ready(job: ClaimedJob, results: Results, *, cost_usd: Decimal) -> Move:
    """Results are there and paid for; the worker carries on with `store`, so it keeps the lease."""
    return Move(
        job.id,
        job.version,
        JobState.STORING,
        LEASE_S,
        hold=Hold.HELD,
        result_urls=results.urls,
        known_subjects=results.known_subjects,
        cost_usd=cost_usd,
        http_status=results.http_status,
        request_id=results.request_id,
    )


def stored(job: ClaimedJob, outputs: tuple[StoredOutput, ...]) -> Move:
    return Move(job.id, job.version, JobState.SUCCEEDED, None, outputs=outputs)


def snooze(job: ClaimedJob, due_s: float, *, code: str | None = None, message: str | None = None) -> Move:
    """Not now, nothing failed: the same stage again, no attempt counted.

    A job that certainly was not called goes back to `queued`, where admission, budget and cancel apply to it again.
    """
    state = job.state
    if state is JobState.SUBMITTING and job.is_first_request:
        state = JobState.QUEUED
    return Move(job.id, job.version, state, due_s, attempt=job.attempt, error_code=code, error_message=message)


def retry(job: ClaimedJob, due_s: float, *, code: str, message: str, is_uncalled: bool = False) -> Move:
    """It failed, it is tried again, and that counts. `is_uncalled`: certainly nothing was executed."""
    state = job.state
    if state is JobState.SUBMITTING and is_uncalled and job.is_first_request:
        state = JobState.QUEUED
    return Move(job.id, job.version, state, due_s, attempt=job.attempt + 1, error_code=code, error_message=message)


def refetch(job: ClaimedJob, due_s: float, *, code: str, message: str) -> Move:
    """The result URLs are worth nothing any more: ask Phota for fresh ones."""
    return Move(job.id, job.version, JobState.RUNNING, due_s, error_code=code, error_message=message)


def fail(job: ClaimedJob, *, code: str, message: str, may_be_charged: bool) -> Move:
    """Give up, with the reason. What may have been charged counts as spent, so that a budget is not spent twice."""
    return Move(
        job.id,
        job.version,
        JobState.FAILED,
        None,
        attempt=job.attempt,
        cost_usd=job.estimate_usd if may_be_charged and job.state is not JobState.STORING else None,
        error_code=code,
        error_message=message,
    )


def reject(job: ClaimedJob, *, code: str, message: str) -> Move:
    """Refused for good: trying again unchanged cannot help."""
    return Move(
        job.id, job.version, JobState.REJECTED, None, attempt=job.attempt, error_code=code, error_message=message
    )


def hand_back(job: ClaimedJob) -> Move:
    """The process is stopping: whoever comes next goes on at once, no attempt counted."""
    return Move(job.id, job.version, job.state, 0.0, attempt=job.attempt)
