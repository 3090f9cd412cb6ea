"""Which worker processes there are: Postgres' own list of sessions says so, and forgets those that end."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

_NAME = "photabatch worker "

_LIVE = text(
    """
    SELECT DISTINCT substr(application_name, length(:name) + 1) FROM pg_stat_activity
    WHERE datname = current_database() AND starts_with(application_name, :name)
    """
)


def session_name(worker_id: str) -> str:
    """Under which a worker connects; Postgres cuts names at 63 bytes."""
    return f"{_NAME}{worker_id}"


def live_workers(connection: Connection) -> Sequence[str]:
    """Ids of the workers that have a session."""
    return connection.execute(_LIVE, {"name": _NAME}).scalars().all()
