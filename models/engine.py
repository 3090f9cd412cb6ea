"""Engines, made by whoever boots a process; nothing connects at import."""

from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

# No fault of who asked. An InternalError is what a standby says that is not promoted yet, and a session that was ended
# for standing still; a pool has no connection left while all of them wait for a database that does not answer.
DATABASE_AWAY = (OperationalError, InterfaceError, InternalError, PoolTimeout, OSError)
LONGEST_ANSWER_S = 600.0  # for processes whose statements may be about all of a million jobs
WORKER_ANSWER_S = 30.0  # a worker's statements are about some hundred rows; after a lease their jobs are another's
_IDLE_MS = 60_000  # a transaction goes from one statement to the next in milliseconds; frozen, it keeps its locks
_GONE_S = 5  # Postgres looks so often whether who asked is still there; without, it finishes what nobody waits for
_INTERVAL_S = 0.1  # between two looks for signals while waiting; psycopg's own

_CONNECT = {
    "connect_timeout": 5,
    # a peer that is gone without a word is noticed within about 15 s
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "photabatch",
}
_QUIET: dict[str, Any] = {"hide_parameters": True}  # or errors would log prompts, links and secrets

T = TypeVar("T")


class _Connection(psycopg.Connection[Any]):
    """Gives up an answer that does not come: a proxy that has lost its other side keeps the connection alive itself."""

    answer_s: float | None = None

    def wait(self, gen: PQGen[T], interval: float = _INTERVAL_S, timeout: float | None = None) -> T:
        try:
            return super().wait(gen, interval, self.answer_s if timeout is None else timeout)
        except _WaitTimeout:
            if timeout is None:
                self.pgconn.finish()  # so that the pool drops it
            raise


class _AsyncConnection(psycopg.AsyncConnection[Any]):
    """The same."""

    answer_s: float | None = None

    async def wait(self, gen: PQGen[T], interval: float = _INTERVAL_S, timeout: float | None = None) -> T:  # noqa: ASYNC109
        try:
            return await super().wait(gen, interval, self.answer_s if timeout is None else timeout)
        except _WaitTimeout:
            if timeout is None:
                self.pgconn.finish()
            raise


def _bounds(answer_s: float | None) -> str:
    """What Postgres itself gives up: what nobody waits for any more, and the locks of a process that stands still."""
    answer_ms = 0 if answer_s is None else int(answer_s * 1000)
    return (
        f"SET client_connection_check_interval = '{_GONE_S}s'; SET statement_timeout = {answer_ms}; "
        f"SET idle_in_transaction_session_timeout = {min(answer_ms, _IDLE_MS)}"
    )


def new_engine(url: str, *, connections: int = 5, answer_s: float | None = None) -> Engine:
    """`answer_s`: a statement without an answer for so long raises OperationalError; None: it is waited for."""
    engine = create_engine(
        url, pool_size=connections, max_overflow=5, pool_pre_ping=True, connect_args=_CONNECT, **_QUIET
    )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, args: Any, options: Any) -> _Connection:
        connection = _Connection.connect(*args, **options)
        connection.answer_s = answer_s
        connection.execute(_bounds(answer_s))
        connection.commit()
        return connection

    return engine


def new_async_engine(
    url: str, *, connections: int, name: str = "photabatch", answer_s: float = WORKER_ANSWER_S
) -> AsyncEngine:
    """`name`: of its sessions, as Postgres lists them. `answer_s`: as above."""

    async def connect(*args: Any, **options: Any) -> _AsyncConnection:
        connection = await _AsyncConnection.connect(*args, **options)
        connection.answer_s = answer_s
        await connection.execute(_bounds(answer_s))
        await connection.commit()
        return connection

    options = {**_CONNECT, "application_name": name, "async_creator_fn": connect}
    return create_async_engine(
        url, pool_size=connections, max_overflow=0, pool_timeout=30, pool_pre_ping=True, connect_args=options, **_QUIET
    )


def wait_at_most(connection: Connection, seconds: int) -> None:
    """For each lock of this transaction. Raise OperationalError beyond it."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{seconds}s'"))
