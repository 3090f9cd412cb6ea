"""Answers that are kept, and for how long."""

from sqlalchemy import Engine, text

from models import DEFAULT_ACCOUNT
from models.idempotency import KeptAnswer, forget_answers, keep_answer, read_answer

KEPT = KeptAnswer("POST /v1/jobs", bytes(32), 202, '{"id": "1"}')
_AGE = text("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")


def test_an_answer_is_forgotten_after_a_day(engine: Engine) -> None:
    with engine.begin() as connection:
        keep_answer(connection, DEFAULT_ACCOUNT, "k", KEPT)
        assert read_answer(connection, DEFAULT_ACCOUNT, "k") == KEPT
        connection.execute(_AGE)
        assert read_answer(connection, DEFAULT_ACCOUNT, "k") is None
        forget_answers(connection)
        assert connection.scalar(text("SELECT count(*) FROM idempotency_keys")) == 0


def test_a_key_can_be_used_again_after_a_day(engine: Engine) -> None:
    later = KeptAnswer("POST /v1/jobs", bytes(32), 202, '{"id": "2"}')
    with engine.begin() as connection:
        keep_answer(connection, DEFAULT_ACCOUNT, "k", KEPT)
        connection.execute(_AGE)
        keep_answer(connection, DEFAULT_ACCOUNT, "k", later)
        forget_answers(connection)
        assert read_answer(connection, DEFAULT_ACCOUNT, "k") == later
