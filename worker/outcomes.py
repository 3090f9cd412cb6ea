"""An error becomes a transition, here and nowhere else."""

import logging

from clients.images import BadImage
from clients.phota import (
    BadResult,
    GateClosed,
    JobFailed,
    JobLost,
    PhotaError,
    Rejected,
    ResultExpired,
    Throttled,
    Uncertain,
)
from clients.phota_requests import InvalidRequest
from clients.remote_images import ImageError
from clients.storage import BucketMissing, ObjectChanged, ObjectMissing, ObjectTooLarge, StorageError
from models.claims import ClaimedJob, Move
from models.states import JobState
from worker import moves
from worker.kit import Kit
from worker.retry import MAX_ATTEMPTS, PAID_AGE_S, backoff_s, patience_s

log = logging.getLogger(__name__)

_GATE_S = 15.0  # a job in hand of Phota waits this long when the key or the credit is refused
_UNKNOWN_AGE_S = 600.0  # a job that Phota denies to know for so long is not going to be found
_DAMAGED_AGE_S = 1800.0  # a result that is still damaged then is so at Phota


def after_error(job: ClaimedJob, error: Exception, kit: Kit) -> Move:
    """What becomes of the job; tells the dispatcher what the error says about the upstream."""
    match error:
        case InvalidRequest() if job.state is JobState.SUBMITTING:
            return _refused(job, code=error.problems[0].code, message=str(error))
        case PhotaError():
            return _after_phota(job, error, kit)
        case StorageError():
            return _after_storage(job, error, kit)
        case BadImage() if job.state is JobState.SUBMITTING:
            return _refused(job, code=error.code, message=str(error))
        case ImageError() if error.is_retryable:
            return _again(job, kit, code=error.code, message=str(error), is_uncalled=True)
        case ImageError():
            return _refused(job, code=error.code, message=str(error))
        case BadImage():
            return _again(job, kit, code="bad_result", message=f"result: {error}", within_s=_DAMAGED_AGE_S)
    log.error("job %s, stage %s", job.id, job.state.stage, exc_info=error)
    return _again(job, kit, code="internal_error", message=f"{type(error).__name__} in the worker; its log says more")


def _after_phota(job: ClaimedJob, error: PhotaError, kit: Kit) -> Move:
    code, message = error.code, str(error)
    match error:
        case Throttled():
            kit.sightings.throttled(error.retry_after)
            wait_s = error.retry_after or kit.random_source.uniform(0.5, 2.0)
            return moves.snooze(job, wait_s, code=code, message=message)
        case GateClosed():
            kit.sightings.refused(error.reason)
            due_s = 0.0 if job.state is JobState.SUBMITTING and job.is_first_request else _GATE_S
            return moves.snooze(job, due_s, code=code, message=message)
        case Uncertain():
            return _after_silence(job, error, kit)
        case Rejected():
            return _refused(job, code=error.code, message=str(error))
        case JobFailed():  # assumed free of charge, as a 504 is (docs/phota-api.md, section 4: unknown)
            may_be_charged = code == "expired" or job.is_collected_again  # what had results once was paid for
            return moves.fail(job, code=code, message=message, may_be_charged=may_be_charged)
        case JobLost():
            return _again(job, kit, code="needs_review", message=message, within_s=_UNKNOWN_AGE_S)
        case ResultExpired() if job.poll_url and job.collecting_age_s < _fresh_links_s(job):
            due_s = patience_s(job.collecting_age_s, random_source=kit.random_source)
            return moves.refetch(job, due_s, code=code, message=message)
        case BadResult():
            return _again(job, kit, code="bad_result", message=message, within_s=_DAMAGED_AGE_S)
    return moves.fail(job, code=code, message=message, may_be_charged=True)


def _fresh_links_s(job: ClaimedJob) -> float:
    """How long to ask for fresh links; a job that is collected again had its day, and Phota may have dropped it."""
    return _UNKNOWN_AGE_S if job.is_collected_again else PAID_AGE_S


def _refused(job: ClaimedJob, *, code: str, message: str) -> Move:
    """Before or at the first call it is free of charge; a call whose end is unknown may have been charged."""
    if job.state is JobState.SUBMITTING and not job.is_first_request:
        message = f"{message}; an earlier call of it was cut, and may have been charged"
        return moves.fail(job, code="needs_review", message=message, may_be_charged=True)
    return moves.reject(job, code=code, message=message)


def _after_silence(job: ClaimedJob, error: Uncertain, kit: Kit) -> Move:
    """No answer says what happened. Sending the same `client_request_id` again is free, a synchronous call is not."""
    kit.sightings.failed()
    if job.state is JobState.SUBMITTING and kit.is_sync and error.is_sent:
        message = f"{error}; a synchronous call may have been charged, so it is not sent again by itself"
        return moves.fail(job, code="needs_review", message=message, may_be_charged=True)
    return _again(job, kit, code=error.code, message=str(error), is_uncalled=not error.is_sent)


def _after_storage(job: ClaimedJob, error: StorageError, kit: Kit) -> Move:
    """What is paid for waits for S3 as long as it lasts; an input that is not there never will be."""
    if job.state is not JobState.SUBMITTING:
        return _again(job, kit, code="storage_unavailable", message=str(error))
    if isinstance(error, ObjectMissing | ObjectChanged | BucketMissing | ObjectTooLarge):
        return _refused(job, code=f"input_{error.code}", message=str(error))
    if error.is_retryable:
        due_s = kit.random_source.uniform(5.0, 15.0)
        return moves.snooze(job, due_s, code="storage_unavailable", message=str(error))
    return _again(job, kit, code=error.code, message=str(error), is_uncalled=True)


def _again(
    job: ClaimedJob, kit: Kit, *, code: str, message: str, within_s: float = PAID_AGE_S, is_uncalled: bool = False
) -> Move:
    """Try again: before Phota has the job so many times, after that, since it may be paid for, for so long."""
    if job.state is not JobState.SUBMITTING:
        if job.collecting_age_s > within_s:
            return moves.fail(job, code=code, message=f"{message} (gave up)", may_be_charged=True)
        due_s = patience_s(job.collecting_age_s, random_source=kit.random_source)
        return moves.snooze(job, due_s, code=code, message=message)
    if job.attempt + 1 >= MAX_ATTEMPTS:
        is_free = is_uncalled and job.is_first_request
        message = f"{message} (gave up after {job.attempt + 1} tries)"
        return moves.fail(job, code=code, message=message, may_be_charged=not is_free)
    due_s = backoff_s(job.attempt + 1, random_source=kit.random_source)
    return moves.retry(job, due_s, code=code, message=message, is_uncalled=is_uncalled)
