"""How work gets in: `producer.submit(...)`, batches, and the Celery tasks for producers that share only the broker."""

from producer.batches import cancel_batch, close_batch, join_batch, open_batch
from producer.submission import BatchClosed, InvalidJobs, Submitted, submit

__all__ = [
    "BatchClosed",
    "InvalidJobs",
    "Submitted",
    "cancel_batch",
    "close_batch",
    "join_batch",
    "open_batch",
    "submit",
]
