"""Jobs brought to an end by statement, as the stages would have."""

import uuid
from typing import Any

from sqlalchemy import Engine, text

from models import settle

_ADMIT = text("UPDATE jobs SET state = 'submitting', requested_at = now(), due_at = now() WHERE id = :id")
_SUCCEED = text(
    """
    UPDATE jobs SET state = 'succeeded', due_at = NULL, finished_at = now(), cost_usd = 0.12,
           known_subjects = '{"abc": 1}'
    WHERE id = :id
    """
)
_OUTPUT = text(
    """
    INSERT INTO outputs (job_id, index, bucket, key, content_type, bytes, sha256, width, height)
    VALUES (:id, :index, 'photabatch', :key, 'image/jpeg', :bytes, :sha256, 4, 3)
    """
)
_FAIL = text(
    """
    UPDATE jobs SET state = 'failed', due_at = NULL, finished_at = now(), error_code = :code, error_message = 'no'
    WHERE id = :id
    """
)
_ATTEMPT = text("INSERT INTO attempts (job_id, stage, started_at, duration_ms) VALUES (:id, 'submit', now(), 12)")


def succeed(
    engine: Engine, job_id: uuid.UUID | str, *, key: str = "a/1-0.jpg", data: bytes = b"x", **fields: Any
) -> None:
    """With one output of 4 x 3 pixels, and one attempt."""
    output = {"index": 0, "key": key, "bytes": len(data), "sha256": "0" * 64} | fields
    with engine.begin() as connection:
        for statement in (_ADMIT, _SUCCEED, _ATTEMPT):
            connection.execute(statement, {"id": job_id})
        connection.execute(_OUTPUT, {"id": job_id, **output})


def fail(engine: Engine, job_id: uuid.UUID | str, *, code: str = "moderation_blocked") -> None:
    with engine.begin() as connection:
        connection.execute(_ADMIT, {"id": job_id})
        connection.execute(_FAIL, {"id": job_id, "code": code})


def settle_all(engine: Engine) -> None:
    """What the dispatcher does for batches that have ended."""
    with engine.begin() as connection:
        settle.fold_counts(connection)
        batches = settle.closed_batches(connection)
        settle.start(connection, batches)
        settle.settle(connection, batches)
