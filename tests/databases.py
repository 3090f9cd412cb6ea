"""Databases of the newest schema, one for each test; what a test left as it found it serves another one, emptied.

Making one copies 9 MB; emptying one takes a tenth of that, and its memory is in use already.
"""

import importlib
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import URL

from models.migrate import migrate

_DEFAULT_ROWS: str = importlib.import_module("migrations.versions.0001_jobs_and_batches").DEFAULT_ROWS
EMPTY = f"""
    DO $$ DECLARE names text; BEGIN
        SELECT string_agg(oid::regclass::text, ', ') INTO names FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
              AND relname <> 'alembic_version';
        EXECUTE 'TRUNCATE ' || names || ' RESTART IDENTITY CASCADE';
    END $$;
    {_DEFAULT_ROWS}
"""
_OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
# What DDL adds or takes away, and statistics, which a new database has none of.
_SHAPE = """
    SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_attribute), (SELECT count(*) FROM pg_trigger),
           (SELECT count(*) FROM pg_constraint), (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_namespace),
           (SELECT count(*) FROM pg_db_role_setting), (SELECT count(*) FROM pg_statistic WHERE starelid >= 16384)
"""
_PATIENCE_S = 0.5  # with sessions that were just closed; then the database is left alone


class Databases:
    """Of one server. Not for several threads."""

    def __init__(self, address: URL) -> None:
        self._address = address
        self._numbers = itertools.count(1)
        self._spare = list[URL]()
        self._template = self._create("migrated", template="template1")
        migrate(shown(self._template))
        with self._connect(self._template) as connection:
            self._shape = connection.execute(_SHAPE).fetchone()

    def new(self) -> str:
        """Address of an empty database that nobody had before."""
        return shown(self._new())

    @contextmanager
    def lend(self) -> Iterator[str]:
        """Address of an empty database, for the time of the block."""
        database = self._spare.pop() if self._spare else self._new()
        yield shown(database)
        if self._empty(database):
            self._spare.append(database)

    def _new(self) -> URL:
        return self._create(f"test_{next(self._numbers)}", template="migrated")

    def _create(self, name: str, *, template: str) -> URL:
        with self._connect(self._address) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self._address.set(database=name)

    def _empty(self, database: URL) -> bool:
        """Whether it is as new. It is not where anybody is still connected, nor where more than rows was changed."""
        try:
            with self._connect(database) as connection:
                if not _is_alone(connection) or connection.execute(_SHAPE).fetchone() != self._shape:
                    return False
                connection.execute(EMPTY)
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self, database: URL) -> psycopg.Connection:
        plain = shown(database.set(drivername="postgresql"))
        return psycopg.connect(plain, autocommit=True, options="-c lock_timeout=5s")


def _is_alone(connection: psycopg.Connection) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while connection.execute(_OTHERS).fetchone() != (0,):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def shown(address: URL) -> str:
    return address.render_as_string(hide_password=False)
