"""Fixtures for every folder of tests: real services, started once, and a database of its own for each test."""

import itertools
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine, make_url

from models.engine import new_engine
from models.migrate import migrate
from sandbox.stack import Stack

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One embedded stack for the whole run."""
    with Stack(tmp_path_factory.mktemp("stack"), durable=False) as running:
        yield running


@pytest.fixture(scope="session")
def migrated(stack: Stack) -> str:
    """A database with the schema, made by the real migrations, to copy from."""
    migrate(_create(stack, "migrated", template="template1"))
    return "migrated"


@pytest.fixture
def database_url(stack: Stack, migrated: str) -> str:
    """An empty database of the newest schema."""
    return new_database(stack, migrated)


def new_database(stack: Stack, migrated: str) -> str:
    return _create(stack, f"test_{next(_numbers)}", template=migrated)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = new_engine(database_url)
    yield engine
    engine.dispose()


def _create(stack: Stack, name: str, *, template: str) -> str:
    url = make_url(stack.environment()["PHOTABATCH_DATABASE_URL"])
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return url.set(database=name).render_as_string(hide_password=False)
