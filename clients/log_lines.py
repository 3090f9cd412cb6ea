"""What processes tell of themselves: a JSON object a line, of these fields and no others.

Libraries put into their messages, and errors into their texts, what was passed to them. So of a message only the first
line is told, of an error of the database or of pydantic only what it is about, and the rest without secrets.
"""

import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from clients.redaction import without_secrets
from settings import known_secrets

FIELDS = ("at", "level", "logger", "message", "error", "stack")
LONGEST = 2_000  # characters of a message
_LONGEST_ERROR = 500
_FRAMES = 40  # the innermost of each error of a chain
_QUIET = ("httpx", "botocore", "boto3", "urllib3", "celery.app.trace", "celery.worker.strategy", "alembic")

_Trace = TracebackType | None


class JsonLines(logging.Formatter):
    """`at` (UTC), `level`, `logger`, `message`; of an error `error`, its type and text, and `stack` as well."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = [at, record.levelname.lower(), record.name, message_of(record)]
        if error := _error_of(record):
            told += [error_text(error), stack_of(error, _trace_of(record))]
        return json.dumps(dict(zip(FIELDS, told, strict=False)), ensure_ascii=False)


class PlainLines(logging.Formatter):
    """The same for a terminal: the message, and below it what led to it."""

    def format(self, record: logging.LogRecord) -> str:
        error = _error_of(record)
        return message_of(record) + (f"\n{stack_of(error, _trace_of(record))}" if error else "")


def log_to(handler: logging.Handler, *, level: int = logging.INFO) -> None:
    """Everything that is logged goes there, and uncaught errors are told in the same way."""
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:  # an INFO of theirs tells whole URLs, a DEBUG whole requests
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def log_as_json(level: int = logging.INFO) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    log_to(handler, level=level)


def tell_uncaught() -> None:
    """Errors that nobody catches, and what is logged before `log_to`, as the log has them."""
    if isinstance(logging.lastResort, logging.Handler):
        logging.lastResort.setFormatter(PlainLines())
    sys.excepthook = lambda _, error, trace: print_error(error, trace)
    threading.excepthook = lambda about: print_error(about.exc_value or SystemExit(), about.exc_traceback)


def print_error(error: BaseException, trace: _Trace) -> None:
    sys.stderr.write(f"{stack_of(error, trace)}\n")


def message_of(record: logging.LogRecord) -> str:
    """The first line; Celery puts the whole body of a message that it cannot use below, or behind ` [type:`."""
    if record.name == "celery.app.trace" and isinstance(record.args, dict):
        return "task {name}[{id}] {description}".format_map(record.args)  # the error is told apart
    first = record.getMessage().partition("\n")[0].partition(" [type:")[0]
    return without_secrets(first[:LONGEST], *known_secrets())


def error_text(error: BaseException) -> str:
    """Type and text. The database quotes rows in its own, pydantic the value that does not fit."""
    return f"{type(error).__qualname__}: {_text(error)}".removesuffix(": ")


def stack_of(error: BaseException, trace: _Trace = None) -> str:
    """As Python prints it, causes first, each error as `error_text` has it."""
    return "\n".join(_stack(error, trace or error.__traceback__, set()))


def _stack(error: BaseException, trace: Any, seen: set[int]) -> Iterable[str]:
    seen.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and id(cause) not in seen:
        yield from _stack(cause, cause.__traceback__, seen)
        yield "which led to"
    for frame in traceback.format_list(traceback.extract_tb(trace)[-_FRAMES:]):
        yield frame.rstrip("\n")
    yield error_text(error)
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _stack(each, each.__traceback__, seen)


def _text(error: BaseException) -> str:
    if isinstance(error, DBAPIError):
        return error_text(error.orig) if error.orig is not None else ""
    if (about := getattr(error, "diag", None)) is not None:
        return _about_database(error, about)
    if isinstance(error, ValidationError):
        return "; ".join(f"{_place(each['loc'])} {each['type']}" for each in error.errors(include_input=False)[:20])
    if isinstance(error, SQLAlchemyError):
        return without_secrets(str(error).partition("\n")[0][:_LONGEST_ERROR], *known_secrets())
    return without_secrets(" ".join(str(error).split())[:20_000], *known_secrets())[:_LONGEST_ERROR]


def _about_database(error: BaseException, about: Any) -> str:
    """Postgres' own words may quote values; its code and the names of things may not. Without a code it is libpq's."""
    if about.sqlstate is None:
        return without_secrets(str(error).partition("\n")[0][:_LONGEST_ERROR], *known_secrets())
    names = ("table_name", "column_name", "constraint_name", "datatype_name")
    return " ".join([about.sqlstate, *filter(None, (getattr(about, name) for name in names))])


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))[:64] or "value"


def _error_of(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def _trace_of(record: logging.LogRecord) -> _Trace:
    return record.exc_info[2] if record.exc_info else None
