"""The engine of a producer that brings no connection of its own."""

import functools

from sqlalchemy import Engine

from models.engine import new_engine
from settings import get_settings


class NotConfiguredError(RuntimeError):
    """No database address is in force."""


@functools.cache
def default_engine() -> Engine:
    """One per process. Raise NotConfiguredError."""
    url = get_settings().database_url
    if url is None:
        raise NotConfiguredError("PHOTABATCH_DATABASE_URL is not set; `photabatch up` starts an embedded database")
    return new_engine(url.get_secret_value())
