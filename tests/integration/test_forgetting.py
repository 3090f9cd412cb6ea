"""A broker that was flushed is found out at the next look."""

import pytest
import redis
from celery import Celery

from sandbox.stack import Stack
from worker.forgetting import KEY, Note
from worker.transport import broker_errors


@pytest.fixture
def broker_url(stack: Stack) -> str:
    return stack.environment()["PHOTABATCH_BROKER_URL"]


@pytest.fixture
def server(broker_url: str) -> redis.Redis:
    server = redis.Redis.from_url(broker_url)
    server.delete(KEY)
    return server


def note(url: str) -> Note:
    app = Celery(broker=url)
    return Note(app, broker_errors(app))


def test_a_note_that_was_left_is_found(server: redis.Redis, broker_url: str) -> None:
    left = note(broker_url)
    assert [left.is_gone() for _ in range(3)] == [False, False, False]


def test_a_flush_is_noticed_once(server: redis.Redis, broker_url: str) -> None:
    left = note(broker_url)
    left.is_gone()
    server.delete(KEY)
    assert [left.is_gone(), left.is_gone()] == [True, False]


def test_an_older_note_come_back_is_a_loss_too(server: redis.Redis, broker_url: str) -> None:
    left = note(broker_url)
    left.is_gone()
    before = server.get(KEY)
    left.is_gone()
    server.set(KEY, before)
    assert left.is_gone()


def test_what_another_leader_left_is_no_loss(server: redis.Redis, broker_url: str) -> None:
    note(broker_url).is_gone()
    assert not note(broker_url).is_gone()


def test_a_broker_that_does_not_answer_has_forgotten_nothing() -> None:
    away = note("redis://127.0.0.1:1/0")
    assert not away.is_gone()


def test_a_broker_that_takes_nothing_has_forgotten_nothing(server: redis.Redis, broker_url: str) -> None:
    left = note(broker_url)
    left.is_gone()
    server.config_set("maxmemory", 1)
    full = left.is_gone()
    server.config_set("maxmemory", 0)
    assert (full, left.is_gone()) == (False, False)
