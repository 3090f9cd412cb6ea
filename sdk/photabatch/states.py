"""The words of the API: states of jobs and batches, operations, priorities."""

from enum import StrEnum
from typing import Literal, Self

Operation = Literal["enhance", "edit", "generate", "remix"]
Priority = Literal["interactive", "normal", "bulk"]


class _OpenEnum(StrEnum):
    """Takes values that a newer server may add; they equal their text, like the others."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_, member._value_ = value.upper(), value
        return member


class JobState(_OpenEnum):
    QUEUED = "queued"
    SUBMITTING = "submitting"
    RUNNING = "running"
    STORING = "storing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        return self in _FINAL_STATES

    @property
    def is_good(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.SKIPPED)


class BatchStatus(_OpenEnum):
    OPEN = "open"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"  # what is paid for is still collected
    COMPLETED = "completed"  # every job succeeded or was skipped
    COMPLETED_WITH_ERRORS = "completed_with_errors"  # some did not
    FAILED = "failed"  # none succeeded
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        return self in _FINAL_STATUSES


_FINAL_STATES = (
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.REJECTED,
    JobState.CANCELLED,
    JobState.EXPIRED,
    JobState.SKIPPED,
)
_FINAL_STATUSES = (
    BatchStatus.COMPLETED,
    BatchStatus.COMPLETED_WITH_ERRORS,
    BatchStatus.FAILED,
    BatchStatus.CANCELLED,
    BatchStatus.EXPIRED,
)
