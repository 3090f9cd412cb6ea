"""A message of `intake` becomes a row, or goes back to the queue; a database that is away is not its fault."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery.exceptions import Reject
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import InternalError

from chaos.proxy import Mode, Proxy
from clients.phota_requests import Operation
from models.engine import new_engine
from producer.intake import take

FINE, FAULTY = {"prompt": "a boat"}, {"prompt": "a boat", "images": ["https://example.com/1.jpg"]}


@pytest.fixture
def through(link: Proxy, database_url: str) -> Iterator[Engine]:
    """Has been used before, as that of a worker."""
    engine = new_engine(make_url(database_url).set(port=link.port).render_as_string(hide_password=False), answer_s=0.5)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    yield engine
    engine.dispose()


def send(engine: Engine, fields: dict[str, Any]) -> None:
    take(engine, "message-1", Operation.GENERATE, dict(fields), pause_s=0)


def states(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT state FROM jobs")))


CASES = pytest.mark.parametrize(("fields", "state"), [(FINE, "queued"), (FAULTY, "rejected")])


@CASES
@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACK_HOLE])
def test_it_goes_back_while_the_database_is_away(
    link: Proxy, through: Engine, engine: Engine, fields: dict[str, Any], state: str, mode: Mode
) -> None:
    with link.spell(mode), pytest.raises(Reject) as thrown:
        send(through, fields)
    assert thrown.value.requeue
    assert states(engine) == []
    send(through, fields)
    assert states(engine) == [state]


@CASES
def test_it_goes_back_while_all_connections_are_in_use(
    database_url: str, engine: Engine, fields: dict[str, Any], state: str
) -> None:
    small = create_engine(database_url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    with small.connect(), pytest.raises(Reject):
        send(small, fields)
    send(small, fields)
    assert states(engine) == [state]
    small.dispose()


@CASES
def test_it_goes_back_while_the_database_is_a_standby(
    database_url: str, engine: Engine, fields: dict[str, Any], state: str
) -> None:
    standby = create_engine(database_url, connect_args={"options": "-c default_transaction_read_only=on"})
    with pytest.raises(Reject) as thrown:
        send(standby, fields)
    assert isinstance(thrown.value.reason, InternalError)
    standby.dispose()


@CASES
def test_the_same_message_twice_is_one_job(engine: Engine, fields: dict[str, Any], state: str) -> None:
    send(engine, fields)
    send(engine, fields | {"idempotency_key": None})
    assert states(engine) == [state]


@pytest.mark.parametrize("prompt", [float("nan"), json.loads("[" * 900 + "]" * 900)], ids=["not a number", "deep"])
def test_what_cannot_be_kept_leaves_a_trace(engine: Engine, prompt: object) -> None:
    send(engine, {"prompt": prompt})
    assert states(engine) == ["rejected"]
