"""The report of a batch, a line a job: CSV for spreadsheets, JSONL for programs."""

import csv
import json
import uuid
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine

from models.reports import JobReport, report_page
from producer.results.pages import paged

COLUMNS = (
    "custom_id",
    "source",
    "source_bytes",
    "source_sha256",
    "state",
    "output_count",
    "outputs",
    "error_code",
    "error_message",
    "cost_usd",
    "estimate_usd",
    "operation",
    "generation",
    "id",
    "same_as",
    "request_id",
    "created_at",
    "finished_at",
    "missing_outputs",
)
_ACTIVE = tuple("=+-@\t\r\n＝＋－＠")  # spreadsheets take a cell that begins so for a formula (OWASP, "CSV Injection")


class Form(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


def jobs_of(engine: Engine, batch_id: uuid.UUID) -> Iterator[JobReport]:
    """All that count for the batch, in the order of their making."""
    return paged(engine, report_page, batch_id)


def report_lines(jobs: Iterable[JobReport], form: Form) -> Iterator[bytes]:
    """UTF-8, each with its end; the first one of CSV is the header."""
    if form is Form.CSV:
        yield header()
    for job in jobs:
        yield csv_line(job) if form is Form.CSV else json_line(job.as_json())


def header() -> bytes:
    return _csv(COLUMNS)


def csv_line(job: JobReport) -> bytes:
    """Several outputs are separated by a space, a message is on one line; no text in it can become a formula."""
    line = job.as_json()
    line["outputs"] = " ".join(line["outputs"])
    line["error_message"] = " ".join((line["error_message"] or "").split())
    return _csv(safe_cell(line[name]) for name in COLUMNS)


def json_line(line: dict[str, Any]) -> bytes:
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def safe_cell(value: object) -> object:
    """Text that a spreadsheet would evaluate gets an apostrophe in front; all else stays as it is."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_ACTIVE) else value


class _Echo:
    """What `csv` writes a row to, to have it back."""

    @staticmethod
    def write(row: str) -> bytes:
        return row.removesuffix(_CRLF).encode() + b"\n"


# Lines end in a line feed; were the writer told so, it would not quote a lone carriage return, which ends a row too.
_CRLF = "\r\n"
_write_row = csv.writer(_Echo(), lineterminator=_CRLF).writerow


def _csv(cells: Iterable[object]) -> bytes:
    row: bytes = _write_row(cells)
    return row
