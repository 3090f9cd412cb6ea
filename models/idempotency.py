"""Answers that are kept: the same `Idempotency-Key` again gets the same one. One transaction, opened by the caller."""

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, text

KEEP_H = 24


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    route: str
    body_sha256: bytes
    status: int
    answer: str  # JSON, as it was sent


_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:account || :key, 0))")


def lock_key(connection: Connection, account_id: uuid.UUID, key: str) -> bool:
    """Until the commit nobody else works under this key; False if somebody does."""
    return bool(connection.execute(_LOCK, {"account": str(account_id), "key": key}).scalar_one())


_READ = text(
    f"""
    SELECT route, body_sha256, status, answer FROM idempotency_keys
    WHERE account_id = :account AND key = :key AND created_at > now() - interval '{KEEP_H} hours'
    """
)


def read_answer(connection: Connection, account_id: uuid.UUID, key: str) -> KeptAnswer | None:
    row = connection.execute(_READ, {"account": account_id, "key": key}).one_or_none()
    return None if row is None else KeptAnswer(row.route, bytes(row.body_sha256), row.status, row.answer)


_KEEP = text(
    """
    INSERT INTO idempotency_keys (account_id, key, route, body_sha256, status, answer)
    VALUES (:account, :key, :route, :body_sha256, :status, :answer)
    ON CONFLICT (account_id, key) DO UPDATE SET route = excluded.route, body_sha256 = excluded.body_sha256,
        status = excluded.status, answer = excluded.answer, created_at = now()
    """
)


def keep_answer(connection: Connection, account_id: uuid.UUID, key: str, kept: KeptAnswer) -> None:
    """In the transaction of the effect. Only an outdated answer can be in the way."""
    values = {
        "account": account_id,
        "key": key,
        "route": kept.route,
        "body_sha256": kept.body_sha256,
        "status": kept.status,
        "answer": kept.answer,
    }
    connection.execute(_KEEP, values)


_FORGET = text(
    f"""
    DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM idempotency_keys WHERE created_at < now() - interval '{KEEP_H} hours' LIMIT 1000))
    """
)


def forget_answers(connection: Connection) -> None:
    """Some of those that are outdated."""
    connection.execute(_FORGET)
