"""The report of a batch: its columns, and cells that no spreadsheet evaluates."""

import csv
import io
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.reports import JobReport
from models.states import JobState
from producer.results.reports import COLUMNS, Form, report_lines, safe_cell

NOW = datetime(2026, 5, 14, 18, 5, tzinfo=UTC)
JOB = JobReport(
    id=uuid.UUID(int=7),
    custom_id="trip/1.jpg",
    operation="enhance",
    generation=2,
    state=JobState.SUCCEEDED,
    source={"path": "/photos/trip/1.jpg", "bytes": 9, "sha256": "ab", "width": 4},
    image="s3://b/inputs/ab.jpg",
    cost_usd=Decimal("0.1200"),
    estimate_usd=Decimal("0.1300"),
    known_subjects={},
    error_code=None,
    error_message=None,
    same_as=None,
    request_id="req_1",
    created_at=NOW,
    finished_at=NOW,
    outputs=[{"bucket": "b", "key": "my photo-0.jpg"}, {"bucket": "b", "key": "my photo-1.jpg"}],
)


def in_csv(*jobs: JobReport) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(report_lines(jobs, Form.CSV)).decode(), newline="")))


def test_a_job_is_a_line_of_csv() -> None:
    assert in_csv(JOB) == [
        {
            "custom_id": "trip/1.jpg",
            "source": "/photos/trip/1.jpg",
            "source_bytes": "9",
            "source_sha256": "ab",
            "state": "succeeded",
            "output_count": "2",
            "outputs": "s3://b/my photo-0.jpg s3://b/my photo-1.jpg",
            "error_code": "",
            "error_message": "",
            "cost_usd": "0.12",
            "estimate_usd": "0.13",
            "operation": "enhance",
            "generation": "2",
            "id": str(uuid.UUID(int=7)),
            "same_as": "",
            "request_id": "req_1",
            "created_at": "2026-05-14T18:05:00Z",
            "finished_at": "2026-05-14T18:05:00Z",
            "missing_outputs": "0",
        }
    ]


@pytest.mark.parametrize(("ordered", "missing"), [(0, 0), (1, 0), (2, 0), (4, 2)])
def test_results_that_did_not_come_are_told(ordered: int, missing: int) -> None:
    assert replace(JOB, ordered=ordered).as_json()["missing_outputs"] == missing


def test_both_forms_have_the_same_columns() -> None:
    line = json.loads(next(report_lines([JOB], Form.JSONL)))
    assert tuple(line) == COLUMNS == tuple(in_csv(JOB)[0])
    assert line["outputs"] == ["s3://b/my photo-0.jpg", "s3://b/my photo-1.jpg"]
    assert (line["cost_usd"], line["error_code"]) == (0.12, None)


def test_a_report_of_nothing_is_a_header() -> None:
    assert list(report_lines([], Form.CSV)) == [",".join(COLUMNS).encode() + b"\n"]
    assert list(report_lines([], Form.JSONL)) == []


def test_an_address_is_the_source_of_what_was_not_uploaded() -> None:
    assert in_csv(replace(JOB, source=None))[0]["source"] == "s3://b/inputs/ab.jpg"
    assert in_csv(replace(JOB, source=None, image=None))[0]["source"] == ""


def test_what_was_skipped_cost_nothing_and_names_whose_outputs_it_has() -> None:
    line = replace(JOB, state=JobState.SKIPPED, cost_usd=None, same_as=uuid.UUID(int=3)).as_json()
    assert (line["cost_usd"], line["same_as"], line["output_count"]) == (0.0, str(uuid.UUID(int=3)), 2)
    assert replace(JOB, state=JobState.QUEUED, cost_usd=None, finished_at=None).as_json()["cost_usd"] is None


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_no_text_becomes_a_formula(text: str) -> None:
    line = in_csv(replace(JOB, custom_id=text))[0]
    assert line["custom_id"] == f"'{text}"
    assert json.loads(next(report_lines([replace(JOB, custom_id=text)], Form.JSONL)))["custom_id"] == text


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
def test_any_name_comes_back_out_of_the_file(text: str) -> None:
    told = in_csv(replace(JOB, custom_id=text))[0]["custom_id"]
    assert told == safe_cell(text)
    assert told.removeprefix("'") == text.removeprefix("'")
    assert told[:1] not in tuple("=+-@\t\r")


def test_a_message_of_several_lines_is_on_one() -> None:
    lines = list(report_lines([replace(JOB, error_message="no\r\n  never")], Form.CSV))
    assert len(b"".join(lines).splitlines()) == 2
    assert b"no never" in lines[1]
