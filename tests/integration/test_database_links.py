"""A connection to the database that has gone dead without a word is given up, and another one works."""

import asyncio

import pytest
from sqlalchemy import Engine, TextClause, make_url, text
from sqlalchemy.exc import InternalError, OperationalError

from chaos.proxy import Mode, Proxy
from models.engine import new_async_engine, new_engine
from tests.acceptance.conftest import eventually

ONE = text("SELECT 1")


def through(link: Proxy, database_url: str) -> str:
    return make_url(database_url).set(port=link.port).render_as_string(hide_password=False)


def test_a_workers_statement_is_given_up_and_the_next_one_works(link: Proxy, database_url: str) -> None:
    async def go() -> int | None:
        engine = new_async_engine(through(link, database_url), connections=1, answer_s=0.5)
        async with engine.connect() as connection:
            await connection.execute(ONE)
            link.half_open()
            with pytest.raises(OperationalError):
                await connection.execute(ONE)
        async with engine.connect() as connection:
            answer: int | None = await connection.scalar(ONE)
        await engine.dispose()
        return answer

    assert asyncio.run(go()) == 1


def test_the_same_in_a_dispatcher(link: Proxy, database_url: str) -> None:
    engine = new_engine(through(link, database_url), connections=1, answer_s=0.5)
    with engine.connect() as connection:
        connection.execute(ONE)
        link.half_open()
        with pytest.raises(OperationalError):
            connection.execute(ONE)
    with engine.connect() as connection:
        assert connection.scalar(ONE) == 1
    engine.dispose()


def test_an_answer_that_comes_late_but_in_time_is_taken(link: Proxy, database_url: str) -> None:
    engine = new_engine(through(link, database_url), connections=1, answer_s=30.0)
    with engine.connect() as connection:
        connection.execute(ONE)
        link.set(Mode.THROTTLE, limit=500)
        assert connection.scalar(text("SELECT 2")) == 2
    engine.dispose()


def test_a_connection_that_died_in_the_pool_is_replaced_before_it_is_used(link: Proxy, database_url: str) -> None:
    engine = new_engine(through(link, database_url), connections=1, answer_s=0.5)
    with engine.connect() as connection:
        connection.execute(ONE)
    link.half_open()
    with engine.connect() as connection:
        assert connection.scalar(ONE) == 1
    engine.dispose()


def test_what_nobody_waits_for_is_not_run_on(database_url: str, engine: Engine) -> None:
    hasty = new_engine(database_url, connections=1, answer_s=0.5)
    with hasty.connect() as connection, pytest.raises(OperationalError):
        connection.execute(text("SELECT pg_sleep(60)"))
    hasty.dispose()
    sleeping = text("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(60)'")
    assert eventually(lambda: _count(engine, sleeping) == 0, within_s=10)


def test_a_process_that_stands_still_in_a_transaction_does_not_keep_its_locks(
    database_url: str, engine: Engine
) -> None:
    frozen = new_engine(database_url, connections=1, answer_s=1.0)
    lock = text("UPDATE accounts SET name = name")
    with frozen.connect() as connection:
        connection.execute(lock)
        with engine.begin() as other:
            other.execute(text("SET LOCAL statement_timeout = '10s'"))
            other.execute(lock)
        with pytest.raises(InternalError):
            connection.execute(ONE)
    frozen.dispose()


def _count(engine: Engine, query: TextClause) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(query) or 0)
