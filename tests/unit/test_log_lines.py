"""A log is JSON, a line an event, of named fields; what libraries and errors quote does not get into it."""

import json
import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from celery.worker.consumer.consumer import INVALID_TASK_ERROR, MESSAGE_DECODE_ERROR, UNKNOWN_FORMAT, UNKNOWN_TASK_ERROR
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.exc import IntegrityError

from clients.log_lines import FIELDS, LONGEST, JsonLines, PlainLines, error_text, stack_of, tell_uncaught
from settings import get_settings, known_secrets

CANARY = "canary-0123456789abcdef"


def line(message: str, *args: Any, name: str = "worker.chunks", error: BaseException | None = None) -> dict[str, Any]:
    """As it is logged, with whatever a library may attach."""
    about = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord(name, logging.ERROR, "file.py", 1, message, args, about)
    record.data = {"kwargs": CANARY}
    told: dict[str, Any] = json.loads(JsonLines().format(record))
    return told


class Refusal(psycopg.errors.CheckViolation):
    """With what Postgres says of a row it refuses."""

    diag: Any = SimpleNamespace(sqlstate="23514", table_name="jobs", column_name=None, constraint_name="ck_jobs_x")
    diag.datatype_name = None


def refused() -> IntegrityError:
    detail = f'new row for relation "jobs" violates check\nDETAIL:  Failing row contains ({CANARY}).'
    return IntegrityError("INSERT INTO jobs", {"prompt": CANARY}, Refusal(detail), hide_parameters=True)


def raised(error: BaseException) -> BaseException:
    """With a traceback, and another error behind it."""
    try:
        try:
            raise ValueError("the first")
        except ValueError:
            raise error  # noqa: B904  what is tried
    except BaseException as caught:
        return caught


def test_an_event_is_one_line_of_known_fields() -> None:
    told = line("job %s", "7", error=raised(KeyError("x")))
    assert tuple(told) == FIELDS
    assert (told["level"], told["logger"], told["message"]) == ("error", "worker.chunks", "job 7")
    assert tuple(line("job %s", "7")) == FIELDS[:4]


def test_a_message_is_its_first_line() -> None:
    assert line("consumer: %s\nthe body was %s", "away", CANARY)["message"] == "consumer: away"
    assert len(line("x" * 10_000)["message"]) == LONGEST


@pytest.mark.parametrize(
    ("template", "args"),
    [
        (UNKNOWN_FORMAT, (CANARY,)),
        (UNKNOWN_TASK_ERROR, ("'photabatch.enhanse'", CANARY, CANARY, CANARY)),
        (INVALID_TASK_ERROR, ("no mapping", CANARY)),
        (MESSAGE_DECODE_ERROR, ("bad", "application/json", "utf-8", CANARY, CANARY)),
        (f"Retrying ({CANARY[:0]}Retry(total=0)) after connection broken: /b/k?X-Amz-Signature=%s", (CANARY,)),
    ],
)
def test_libraries_quote_no_bodies(template: str, args: tuple[str, ...]) -> None:
    told = line(template, *args, name="celery.worker.consumer.consumer")
    assert CANARY not in json.dumps(told)
    assert len(told["message"]) > 20


def test_a_task_that_fails_is_told_without_its_arguments() -> None:
    context = {"name": "job.submit", "id": "7", "description": "raised unexpected", "exc": CANARY, "kwargs": CANARY}
    told = line("Task %(name)s[%(id)s] %(description)s: %(exc)s", context, name="celery.app.trace")
    assert told["message"] == "task job.submit[7] raised unexpected"
    assert CANARY not in json.dumps(told)


def test_the_database_quotes_no_rows() -> None:
    told = line("transition refused", error=raised(refused()))
    assert CANARY not in json.dumps(told)
    assert told["error"] == "IntegrityError: Refusal: 23514 jobs ck_jobs_x"
    assert "ValueError: the first\nwhich led to\n" in told["stack"]


def test_pydantic_quotes_no_values() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, int]).validate_python({"port": CANARY})
    assert error_text(caught.value) == "ValidationError: port int_parsing"


def test_errors_of_a_group_are_all_told() -> None:
    told = stack_of(ExceptionGroup("two", [KeyError("a"), refused()]))
    assert CANARY not in told
    assert "KeyError: 'a'" in told
    assert "ck_jobs_x" in told


def test_errors_that_lead_to_each_other_come_to_an_end() -> None:
    first, second = KeyError("a"), KeyError("b")
    first.__cause__, second.__cause__ = second, first
    assert stack_of(first).count("KeyError") == 2


@pytest.fixture
def secrets_in_force(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PHOTA_API_KEY", "phota-key-in-force")
    monkeypatch.setenv("PHOTABATCH_BROKER_URL", "redis://:p%40ss-in-force@cache:6379/0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-secret-in-force")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.mark.usefixtures("secrets_in_force")
def test_the_secrets_in_force_are_known() -> None:
    assert {"phota-key-in-force", "p@ss-in-force", "p%40ss-in-force", "aws-secret-in-force"} <= set(known_secrets())


@pytest.mark.usefixtures("secrets_in_force")
def test_values_in_force_are_cut_out_of_errors_and_messages() -> None:
    told = line("password p@ss-in-force", error=RuntimeError("key phota-key-in-force, aws-secret-in-force"))
    assert "in-force" not in json.dumps(told)


def test_a_terminal_gets_the_same_as_text() -> None:
    about = (IntegrityError, refused(), None)
    told = PlainLines().format(logging.LogRecord("x", logging.ERROR, "f", 1, "job %s", ("7",), about))
    assert told == "job 7\nIntegrityError: Refusal: 23514 jobs ck_jobs_x"


def test_what_nobody_catches_is_told_in_the_same_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back afterwards
    monkeypatch.setattr("threading.excepthook", sys.excepthook)
    tell_uncaught()
    error = raised(refused())
    sys.excepthook(type(error), error, error.__traceback__)
    assert "ck_jobs_x" in (told := capsys.readouterr().err)
    assert CANARY not in told
