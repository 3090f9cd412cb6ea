"""Manifests are read from files and from standard input, in the form they have."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from producer.manifests.checking import Checker, TooManyJobs
from producer.manifests.manifest_files import is_manifest, read_manifest
from producer.manifests.spool import Spool
from producer.ownership import OPERATOR, Owner

JSONL = b'{"custom_id": "1", "operation": "enhance", "params": {"image": "s3://photos/1.jpg"}}\n'
CSV = b"custom_id,operation,image\n1,enhance,s3://photos/1.jpg\n"
FROM_STANDARD_INPUT = """
from producer.manifests.checking import Checker
from producer.manifests.manifest_files import read_manifest
from producer.ownership import OPERATOR, Owner
from producer.manifests.spool import Spool
spool = Spool("line")
read_manifest(None, Checker(spool, spool.add, allowed_hosts=(), owner=Owner(OPERATOR, "photabatch")))
print(spool.jobs, spool.refused)
"""


def checker(spool: Spool, **options: Any) -> Checker:
    return Checker(spool, spool.add, allowed_hosts=(), owner=Owner(OPERATOR, "photabatch"), **options)


def read(path: Path, data: bytes, **options: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    path.write_bytes(data)
    spool = Spool("line")
    read_manifest(path, checker(spool, **options))
    rows = [row for bite in spool.bites() for row in json.loads(bite.rows)]
    return rows, [json.loads(fault) for fault in spool.faults()]


def test_a_manifest_is_known_by_its_name() -> None:
    assert all(is_manifest(name) for name in ("a/jobs.jsonl", "jobs.NDJSON", "s3://b/jobs.Csv", ".csv"))
    assert not any(is_manifest(name) for name in ("jobs.json", "jobs.csv/", "jsonl", "-", "photo.jpg", "jobs.csv.gz"))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("jobs.JSONL", JSONL),
        ("jobs.ndjson", b"\xef\xbb\xbf" + JSONL.rstrip()),
        ("jobs.CSV", CSV),
        ("jobs.csv", b"\xef\xbb\xbf" + CSV.replace(b",", b";")),
        ("jobs", b"\n \n" + JSONL),
        ("jobs", b"\xef\xbb\xbf" + JSONL),
        ("jobs", b"\xef\xbb\xbf\n" + CSV.rstrip()),
    ],
)
def test_a_file_is_read_in_the_form_it_has(tmp_path: Path, name: str, data: bytes) -> None:
    rows, faults = read(tmp_path / name, data)
    assert faults == []
    assert [(row["custom_id"], row["params"]["image"]) for row in rows] == [("1", "s3://photos/1.jpg")]


def test_faults_name_their_line_in_either_form(tmp_path: Path) -> None:
    _, [fault] = read(tmp_path / "jobs.jsonl", JSONL + b"\n{}x\n")
    assert (fault["line"], fault["param"], fault["code"]) == (3, "job", "invalid_json")
    _, [fault] = read(tmp_path / "jobs.csv", CSV + b"\n2,enhance,photo.jpg\n")
    assert (fault["line"], fault["param"], fault["code"]) == (4, "image", "bad_url")


@pytest.mark.parametrize("data", [JSONL, b"\n \r\n" + CSV])
def test_standard_input_tells_its_form_by_how_it_begins(data: bytes) -> None:
    command = [sys.executable, "-c", FROM_STANDARD_INPUT]
    done = subprocess.run(command, input=data, capture_output=True, check=True, timeout=60)
    assert done.stdout.split() == [b"1", b"0"]


def test_a_name_counts_for_more_than_how_a_file_begins(tmp_path: Path) -> None:
    assert read(tmp_path / "jobs.jsonl", b"custom_id\n")[1][0]["code"] == "invalid_json"
    assert read(tmp_path / "jobs.csv", JSONL)[1][0]["code"] == "invalid_csv"


def test_a_json_document_is_told_to_be_none(tmp_path: Path) -> None:
    rows, [fault] = read(tmp_path / "jobs", b'[{"operation": "enhance"}]')
    assert (rows, fault["code"]) == ([], "not_an_object")


@pytest.mark.parametrize("name", ["empty", "empty.csv", "empty.jsonl"])
def test_an_empty_manifest_holds_nothing(tmp_path: Path, name: str) -> None:
    assert read(tmp_path / name, b"") == ([], [])


def test_a_manifest_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_manifest(tmp_path / "jobs.csv", checker(Spool("line")))


def test_more_rows_than_a_body_may_have_end_it(tmp_path: Path) -> None:
    with pytest.raises(TooManyJobs):
        read(tmp_path / "jobs.csv", CSV + CSV.splitlines(keepends=True)[1] * 2, most=2)


def test_defaults_hold_for_lines_that_name_no_other_operation(tmp_path: Path) -> None:
    defaults = {"operation": "generate", "params": {"prompt": "a boat"}, "output": "s3://done/a"}
    lines: list[dict[str, Any]] = [
        {"params": {"resolution": "2K"}},
        {"operation": "generate", "params": {"prompt": "a ship"}, "output": "s3://done/b"},
        {"operation": "enhance", "params": {"image": "s3://photos/1.jpg"}},
        {"url": "/v1/phota/generate", "body": {"prompt": "a raft"}},
    ]
    rows, faults = read(
        tmp_path / "jobs.jsonl", b"\n".join(json.dumps(each).encode() for each in lines), defaults=defaults
    )
    assert faults == []
    assert [row["operation"] for row in rows] == ["generate", "generate", "enhance", "generate"]
    assert [row["params"].get("prompt") for row in rows] == ["a boat", "a ship", None, "a raft"]
    assert [row.get("output", "-")[:11] for row in rows] == ["s3://done/a", "s3://done/b", "s3://done/a", "-"]


def test_faults_of_a_line_with_defaults_are_its_own(tmp_path: Path) -> None:
    defaults = {"operation": "edit", "params": {"prompt": "warmer"}}
    _, found = read(tmp_path / "jobs.jsonl", b'{"params": 7}\n{"params": {"images": []}}\n7\n', defaults=defaults)
    assert [(fault["line"], fault["param"], fault["code"]) for fault in found] == [
        (1, "params", "invalid_type"),
        (2, "params.images", "out_of_range"),
        (3, "job", "not_an_object"),
    ]


@pytest.mark.parametrize("name", ["jobs.csv", "jobs.jsonl"])
def test_memory_is_no_more_for_a_longer_manifest(tmp_path: Path, name: str) -> None:
    head, row = (CSV.splitlines(keepends=True)[:2]) if name.endswith("csv") else (b"", JSONL)
    (tmp_path / name).write_bytes(head + row * 20_000)
    spool = Spool("line")
    tracemalloc.start()
    read_manifest(
        tmp_path / name, Checker(spool, lambda _number, _job: None, allowed_hosts=(), owner=Owner(OPERATOR, "b"))
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 2**20
