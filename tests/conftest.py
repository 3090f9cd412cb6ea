"""Fixtures for every folder of tests: real services, started once, and a database of its own for each test."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, make_url

from models.engine import new_engine
from sandbox.stack import Stack
from tests.databases import Databases


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One embedded stack for the whole run."""
    with Stack(tmp_path_factory.mktemp("stack"), durable=False) as running:
        yield running


@pytest.fixture(scope="session")
def databases(stack: Stack) -> Databases:
    """Of the newest schema, made by the real migrations."""
    return Databases(make_url(stack.environment()["PHOTABATCH_DATABASE_URL"]))


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """An empty database."""
    with databases.lend() as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = new_engine(database_url)
    yield engine
    engine.dispose()
