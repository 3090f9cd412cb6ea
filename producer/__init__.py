"""How work gets in: `producer.submit(...)`, batches, and the Celery tasks for producers that share only the broker."""

from producer.batches import (
    BatchCancelled,
    BatchError,
    BatchFinished,
    BatchLimits,
    BudgetReached,
    Cancelled,
    NoSuchBatch,
    Retried,
    cancel_batch,
    close_batch,
    join_batch,
    open_batch,
    pause_batch,
    resume_batch,
    retry_batch,
)
from producer.ownership import QueueFull
from producer.submission import BatchClosed, InvalidJobs, Submitted, submit

__all__ = [
    "BatchCancelled",
    "BatchClosed",
    "BatchError",
    "BatchFinished",
    "BatchLimits",
    "BudgetReached",
    "Cancelled",
    "InvalidJobs",
    "NoSuchBatch",
    "QueueFull",
    "Retried",
    "Submitted",
    "cancel_batch",
    "close_batch",
    "join_batch",
    "open_batch",
    "pause_batch",
    "resume_batch",
    "retry_batch",
    "submit",
]
