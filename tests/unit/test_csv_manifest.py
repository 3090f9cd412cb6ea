"""Rows of a table become jobs, whatever program wrote it; and what is wrong with them, where."""

import csv
import io
import json
import tracemalloc
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.phota_requests import InvalidRequest
from producer.manifests.checking import Checker
from producer.manifests.csv_manifest import jobs_of_csv
from producer.manifests.csv_rows import lines_of, rows_of
from producer.manifests.lines import LONGEST_LINE
from producer.manifests.spool import Spool
from producer.ownership import OPERATOR, Owner

cells = st.text(st.sampled_from('a,;"\n\r é|'), max_size=6)
GOOD = "1,enhance,s3://photos/1.jpg"


def rows_and_faults(
    data: str | bytes, defaults: Mapping[str, Any] | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows that may be queued, and every fault."""
    raw = data.encode() if isinstance(data, str) else data
    spool = Spool("line")
    checker = Checker(spool, spool.add, allowed_hosts=(), owner=Owner(OPERATOR, "photabatch"), defaults=defaults)
    checker.take_rows(jobs_of_csv(raw[start : start + 7] for start in range(0, len(raw), 7)))
    rows = [row for bite in spool.bites() for row in json.loads(bite.rows)]
    return rows, [json.loads(fault) for fault in spool.faults()]


def faults(data: str | bytes) -> list[tuple[int, str, str]]:
    return [(fault["line"], fault["param"], fault["code"]) for fault in rows_and_faults(data)[1]]


def test_params_and_the_fields_beside_them_share_a_row() -> None:
    data = "custom_id,operation,images,prompt,num_output_images,output,priority,metadata.who,metadata.why\n"
    data += "1,edit,s3://photos/1.jpg | s3://photos/2.jpg,warmer,2,s3://done/a,bulk,me,\n"
    [row], none = rows_and_faults(data)
    assert none == []
    assert row["params"]["images"] == ["s3://photos/1.jpg", "s3://photos/2.jpg"]
    assert (row["params"]["prompt"], row["params"]["num_output_images"]) == ("warmer", 2)
    assert (row["number"], row["custom_id"], row["operation"], row["metadata"]) == (2, "1", "edit", {"who": "me"})
    assert row["output"] == "s3://done/a/{batch}/{custom_id}-{index}.{ext}"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_tables_are_read_as_different_programs_write_them(delimiter: str, end: str, encoding: str) -> None:
    table = [["operation", "image", "prompt"], ["enhance", "s3://photos/ü.jpg", 'a "b", c; d\te']]
    lines = [delimiter.join(f'"{cell}"' for cell in ([*table[0]])), ""]
    quoted = delimiter.join(f'"{cell}"' for cell in (each.replace('"', '""') for each in table[1]))
    [row], none = rows_and_faults(f"{end.join(lines)}{quoted}{end}{end}{delimiter * 2}{end}".encode(encoding))
    assert none == []
    assert (row["params"]["image"], row["params"]["prompt"]) == (table[1][1], table[1][2])


def test_empty_cells_and_missing_ones_are_absent_fields() -> None:
    rows, none = rows_and_faults(
        "operation,image,prompt,profile_ids,custom_id,\nenhance,s3://photos/1.jpg,,,,,,\nenhance,s3://a12/b\n"
    )
    assert none == []
    assert [sorted(row["params"]) for row in rows] == [["image", "num_output_images", "output_format"]] * 2
    assert all("custom_id" not in row for row in rows)


def test_every_bad_row_is_told_with_the_line_it_begins_in() -> None:
    data = 'custom_id,operation,image,num_output_images,prompt\n1,enhance,s3://photos/1.jpg,two,"a\n\nb"\n\n'
    data += "2,paint,s3://photos/1.jpg\n3,enhance,http://x\n,,,,,6\n7,enhance,s3://photos/7.jpg,1\n"
    rows, found = rows_and_faults(data)
    assert [row["number"] for row in rows] == [9]
    assert [(fault["line"], fault["param"], fault["code"]) for fault in found] == [
        (2, "num_output_images", "invalid_type"),
        (6, "operation", "unknown_operation"),
        (7, "image", "bad_url"),
        (8, "job", "too_many_cells"),
    ]
    assert found[0]["message"] == "num_output_images: must be a whole number, not 'two'"


def test_a_cell_below_no_name_is_not_lost_in_silence() -> None:
    assert faults("operation,,image\nenhance,x,s3://photos/1.jpg\n") == [(2, "job", "too_many_cells")]


@pytest.mark.parametrize(
    ("header", "code", "text"),
    [
        ("custom_id,operation,Image,promt", "unknown_column", "'Image' (image?); 'promt' (prompt?)"),
        ("operation,image,metadata", "unknown_column", "'metadata'"),
        ("operation,image,metadata.", "unknown_column", "'metadata.'"),
        ("operation,image,params", "unknown_column", "'params'"),
        ("operation,image,image", "duplicate_column", "image: more than once"),
    ],
)
def test_a_bad_header_is_one_fault_and_all_there_is(header: str, code: str, text: str) -> None:
    rows, [fault] = rows_and_faults(f"\n{header}\n{GOOD}\n{GOOD}\n")
    assert rows == []
    assert (fault["line"], fault["param"], fault["code"]) == (2, "header", code)
    assert text in fault["message"]


@pytest.mark.parametrize("data", ["", "\n\r\n", ",,,\n", "custom_id,operation,image\n"])
def test_a_table_without_rows_holds_nothing(data: str) -> None:
    assert rows_and_faults(data) == ([], [])


def test_a_header_that_cannot_be_read_is_told() -> None:
    assert faults(b"operation,im\xffage\nenhance,s3://photos/1.jpg\n") == [(1, "job", "not_utf8")]
    assert faults("operation,image\renhance,s3://photos/1.jpg\r") == [(1, "job", "invalid_csv")]


def test_a_quote_that_is_never_closed_costs_its_line_alone() -> None:
    data = f'custom_id,operation,image\n{GOOD}\n2,"enhance,s3://photos/2.jpg\n'
    long = "".join(f"{number},enhance,s3://photos/{number}.jpg\n" for number in range(3, 4_000))
    rows, [fault] = rows_and_faults(data + long)
    assert (fault["line"], fault["code"]) == (3, "line_too_long")
    assert fault["message"] == "job: has more than 64 KB; perhaps a quote is never closed"
    assert [row["number"] for row in rows] == [2, *range(4, 4_001)]
    assert faults(data + "3,enhance,s3://photos/3.jpg") == [(3, "job", "invalid_csv")]


def test_a_row_that_cannot_be_read_costs_its_line_alone() -> None:
    data = f'custom_id,operation,image\n{GOOD}\n2,"enhance"x,s3://photos/2.jpg\n{GOOD}\n'.encode()
    data += b'4,enhance,s3://photos/\xff.jpg\n5,"enhance\n6",x,y\n' + GOOD.encode()
    rows, found = rows_and_faults(data)
    assert [row["number"] for row in rows] == [2, 4, 8]
    assert [(fault["line"], fault["code"]) for fault in found] == [
        (3, "invalid_csv"),
        (5, "not_utf8"),
        (6, "too_many_cells"),
    ]


@given(size=st.integers(LONGEST_LINE - 2, LONGEST_LINE + 300_000), chunk=st.integers(1_000, 80_000))
def test_a_row_beyond_the_limit_is_told_and_the_next_one_read(size: int, chunk: int) -> None:
    data = b"x" * size + b"\r\n" + b"a,b\r\n"
    rows = list(rows_of(lines_of(data[start : start + chunk] for start in range(0, len(data), chunk)), delimiter=","))
    assert [row.number for row in rows] == [1, 2]
    assert isinstance(rows[0].cells, InvalidRequest) == (size > LONGEST_LINE)
    assert rows[1].cells == ["a", "b"]


def test_what_is_held_is_bounded_by_a_row_and_a_chunk() -> None:
    tracemalloc.start()
    [line] = lines_of(b"x" * 100_000 for _ in range(300))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert LONGEST_LINE < len(line.data) < peak < 2 * 2**20


@given(table=st.lists(st.lists(cells, min_size=2, max_size=4), max_size=6), places=st.lists(st.integers(0, 90)))
def test_a_table_that_was_written_is_read_again(table: list[list[str]], places: list[int]) -> None:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows(table)
    starts = [0]
    for row in table:
        starts.append(starts[-1] + sum(cell.count("\n") for cell in row) + 1)
    expected = [(start + 1, row) for start, row in zip(starts, table, strict=False) if any(map(str.strip, row))]
    found = rows_of(lines_of(cut(file.getvalue().encode(), places)), delimiter=",")
    assert [(row.number, row.cells) for row in found] == expected


def cut(data: bytes, places: Iterable[int]) -> Iterator[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    return (data[start:end] for start, end in zip([0, *ends], ends, strict=False))


def test_defaults_fill_what_a_row_leaves_open() -> None:
    defaults = {"operation": "edit", "params": {"prompt": "warmer", "resolution": "2K"}, "priority": "bulk"}
    data = "operation,images,image,prompt,priority\n,s3://photos/1.jpg,,,\nedit,s3://photos/2.jpg,,colder,normal\n"
    rows, none = rows_and_faults(data + "enhance,,s3://photos/3.jpg,,\n", defaults)
    assert none == []
    assert [row["operation"] for row in rows] == ["edit", "edit", "enhance"]
    assert [row["params"].get("prompt") for row in rows] == ["warmer", "colder", None]
    assert [row["params"].get("resolution") for row in rows] == ["2K", "2K", None]
    assert rows[0]["priority"] == rows[2]["priority"] != rows[1]["priority"]
