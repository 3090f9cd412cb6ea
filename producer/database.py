"""The engines of producers that bring no connection of their own."""

import functools

from sqlalchemy import Engine

from models.engine import WORKER_ANSWER_S, new_engine
from settings import get_settings


class NotConfiguredError(RuntimeError):
    """No database address is in force."""


@functools.cache
def default_engine() -> Engine:
    """One per process; a statement may be about all of a million jobs. Raise NotConfiguredError."""
    return new_engine(_url())


@functools.cache
def intake_engine() -> Engine:
    """One per process, for a job at a time: an answer that does not come in 30 s is not waited for."""
    return new_engine(_url(), answer_s=WORKER_ANSWER_S)


def _url() -> str:
    url = get_settings().database_url
    if url is None:
        raise NotConfiguredError("PHOTABATCH_DATABASE_URL is not set; `photabatch up` starts an embedded database")
    return url.get_secret_value()
