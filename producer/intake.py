"""Celery tasks for producers that share only the broker: `photabatch.enhance`, `.edit`, `.generate`, `.remix`.

A message is taken from the queue only after its job is committed. Redelivery of the same message finds the same job:
where the sender gives no idempotency key, the message's own id is one.
"""

import logging
import time
from typing import Any

from celery import shared_task
from celery.exceptions import Reject
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from clients.phota_requests import InvalidRequest, Operation
from producer.batches import join_batch
from producer.database import default_engine
from producer.jobs import JobSpec, check
from producer.submission import insert, insert_rejected
from settings import get_settings

log = logging.getLogger(__name__)

_BESIDE = frozenset(JobSpec.model_fields) - {"operation", "params"}
_AWAY_S = 2.0  # before a message goes back because the database is away


def take(task: Any, operation: Operation, fields: dict[str, Any]) -> None:
    """One flat set of keyword arguments becomes a job, or a `rejected` one that says why."""
    batch = fields.pop("batch", None)
    beside = {name: fields.pop(name) for name in list(fields) if name in _BESIDE}
    beside.setdefault("idempotency_key", f"celery:{task.request.id}")
    try:
        with default_engine().begin() as connection:
            _insert(connection, {"operation": operation, "params": fields, **beside}, batch)
    except OperationalError as error:
        log.warning("database away, message goes back to the queue: %s", type(error.orig).__name__)
        time.sleep(_AWAY_S)
        raise Reject(error, requeue=True) from error


def _insert(connection: Connection, job: dict[str, Any], batch_name: object) -> None:
    batch = join_batch(connection, str(batch_name)) if batch_name else None
    try:
        insert(connection, [check(job, allowed_hosts=get_settings().allowed_hosts)], batch=batch)
    except InvalidRequest as error:
        problem = error.problems[0]
        log.warning("job rejected: %s", error)
        insert_rejected(
            connection,
            operation=job["operation"],
            params=job["params"],
            problem=problem,
            custom_id=_text(job.get("custom_id")),
            idempotency_key=_text(job["idempotency_key"]),
            batch=batch,
        )


def _text(value: object) -> str | None:
    """What a faulty message calls an id, as far as it can be kept."""
    return None if value is None else str(value).replace("\0", "")[:512]


@shared_task(name="photabatch.enhance", bind=True)
def enhance(self: Any, /, **fields: Any) -> None:
    take(self, Operation.ENHANCE, fields)


@shared_task(name="photabatch.edit", bind=True)
def edit(self: Any, /, **fields: Any) -> None:
    take(self, Operation.EDIT, fields)


@shared_task(name="photabatch.generate", bind=True)
def generate(self: Any, /, **fields: Any) -> None:
    take(self, Operation.GENERATE, fields)


@shared_task(name="photabatch.remix", bind=True)
def remix(self: Any, /, **fields: Any) -> None:
    take(self, Operation.REMIX, fields)
