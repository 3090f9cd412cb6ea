"""Celery tasks for producers that share only the broker: `photabatch.enhance`, `.edit`, `.generate`, `.remix`.

A message is taken from the queue only after its job is committed. Redelivery of the same message finds the same job:
where the sender gives no idempotency key, the message's own id is one.
"""

import logging
import time
from typing import Any

from celery import shared_task
from celery.exceptions import Reject
from sqlalchemy import Engine

from clients.failpoints import pass_point
from clients.phota_requests import InvalidRequest, Operation, Problem
from models.engine import DATABASE_AWAY
from producer.batches import join_batch
from producer.database import intake_engine
from producer.jobs import JobSpec, check
from producer.submission import insert, insert_rejected
from settings import get_settings

log = logging.getLogger(__name__)

_BESIDE = frozenset(JobSpec.model_fields) - {"operation", "params"}
_AWAY_S = 2.0  # before a message goes back because the database is away


def take(
    engine: Engine, message_id: str, operation: Operation, fields: dict[str, Any], *, pause_s: float = _AWAY_S
) -> None:
    """One flat set of keyword arguments becomes a job, or a `rejected` one that says why.

    Raise Reject, after a pause, where the database takes neither: the message goes back to the queue.
    """
    batch = fields.pop("batch", None)
    beside = {name: fields.pop(name) for name in list(fields) if name in _BESIDE}
    if beside.get("idempotency_key") is None:
        beside["idempotency_key"] = f"celery:{message_id}"
    try:
        _keep(engine, {"operation": operation, "params": fields, **beside}, batch)
    except DATABASE_AWAY as error:
        log.warning("database away, message goes back to the queue: %s", type(getattr(error, "orig", error)).__name__)
        time.sleep(pause_s)
        raise Reject(error, requeue=True) from error


def _keep(engine: Engine, job: dict[str, Any], batch: object) -> None:
    try:
        _insert(engine, job, batch)
    except DATABASE_AWAY:
        raise
    except InvalidRequest as error:
        # not the messages, which may quote what was sent
        log.warning("job rejected: %s", ", ".join(f"{each.param} {each.code}" for each in error.problems))
        _keep_trace(engine, job, batch, error.problems[0])
    except Exception:
        log.exception("job rejected: not understood")
        problem = Problem("job", "not_understood", "the message could not be made a job; the log says more")
        _keep_trace(engine, job, None, problem)


def _keep_trace(engine: Engine, job: dict[str, Any], batch: object, problem: Problem) -> None:
    """With what was sent, unless that is what cannot be kept: NaN, or lists a thousand deep."""
    try:
        _reject(engine, job, batch, problem)
    except DATABASE_AWAY:
        raise
    except Exception as error:
        log.warning("what was sent is not kept with the job: %s", type(error).__name__)
        _reject(engine, job | {"params": {}, "custom_id": None}, None, problem)


def _insert(engine: Engine, job: dict[str, Any], batch_name: object) -> None:
    checked = check(job, allowed_hosts=get_settings().allowed_hosts)
    if batch_name is not None and not _is_name(batch_name):
        raise InvalidRequest([Problem("batch", "invalid_value", "batch: must be a name of 1 to 512 characters")])
    with engine.begin() as connection:
        insert(connection, [checked], batch=join_batch(connection, str(batch_name)) if batch_name else None)
    pass_point("after_intake", get_settings().failpoint)


def _reject(engine: Engine, job: dict[str, Any], batch_name: object, problem: Problem) -> None:
    with engine.begin() as connection:
        insert_rejected(
            connection,
            operation=job["operation"],
            params=job["params"],
            problem=problem,
            custom_id=_text(job.get("custom_id")),
            idempotency_key=_text(job["idempotency_key"]),
            batch=join_batch(connection, str(batch_name)) if _is_name(batch_name) else None,
        )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 512 and value.isprintable()


def _text(value: object) -> str | None:
    """What a faulty message calls an id, as far as it can be kept."""
    return None if value is None else str(value)[:512]


@shared_task(name="photabatch.enhance", bind=True)
def enhance(self: Any, /, **fields: Any) -> None:
    take(intake_engine(), self.request.id, Operation.ENHANCE, fields)


@shared_task(name="photabatch.edit", bind=True)
def edit(self: Any, /, **fields: Any) -> None:
    take(intake_engine(), self.request.id, Operation.EDIT, fields)


@shared_task(name="photabatch.generate", bind=True)
def generate(self: Any, /, **fields: Any) -> None:
    take(intake_engine(), self.request.id, Operation.GENERATE, fields)


@shared_task(name="photabatch.remix", bind=True)
def remix(self: Any, /, **fields: Any) -> None:
    take(intake_engine(), self.request.id, Operation.REMIX, fields)
