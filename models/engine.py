"""Engines, made by whoever boots a process; nothing connects at import."""

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

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


def new_engine(url: str, *, connections: int = 5) -> Engine:
    return create_engine(
        url, pool_size=connections, max_overflow=5, pool_pre_ping=True, connect_args=_CONNECT, **_QUIET
    )


def new_async_engine(url: str, *, connections: int) -> AsyncEngine:
    return create_async_engine(
        url, pool_size=connections, max_overflow=0, pool_timeout=30, pool_pre_ping=True, connect_args=_CONNECT, **_QUIET
    )


def wait_at_most(connection: Connection, seconds: int) -> None:
    """For each lock of this transaction. Raise OperationalError beyond it."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{seconds}s'"))
