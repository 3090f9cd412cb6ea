"""What outputs are called in a folder or an archive."""

import uuid
from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.results import JobResult
from models.states import JobState
from producer.results.local_names import TakenNames, local_name, local_names

NOW = datetime(2026, 5, 14, 18, 5, tzinfo=UTC)
ID = uuid.UUID(int=7)


def job(custom_id: str | None, *, key: str = "trip/x-0.jpg", outputs: int = 1, job_id: uuid.UUID = ID) -> JobResult:
    made: list[dict[str, Any]] = [{"index": index, "key": key} for index in range(outputs)]
    return JobResult(job_id, custom_id, "enhance", JobState.SUCCEEDED, None, None, None, None, None, NOW, NOW, made)


def name(custom_id: str | None, **fields: Any) -> str:
    wanted = job(custom_id, **fields)
    return local_name(wanted, wanted.outputs[-1])


def portable(custom_id: str) -> str:
    wanted = job(custom_id)
    return local_names(wanted, wanted.outputs[0], is_portable=True)[0]


def test_outputs_are_called_as_their_photos() -> None:
    assert name("a/1.jpg") == "a/1.jpg"
    assert name("a/1.heic") == "a/1.heic.jpg"
    assert name("a/1.jpg", outputs=2) == "a/1-1.jpg"
    assert name("a/1", key="done/1-0") == "a/1"
    assert name(".jpg") == ".jpg.jpg"
    assert name(None) == f"{ID}.jpg"


@pytest.mark.parametrize(
    ("custom_id", "called"),
    [
        ("../../etc/passwd", "etc/passwd.jpg"),
        ("/abs//olute/./x", "abs/olute/x.jpg"),
        ("line\nfeed", "line_feed.jpg"),
        ("..", f"{ID}.jpg"),
    ],
)
def test_no_name_leaves_the_folder(custom_id: str, called: str) -> None:
    assert name(custom_id) == called


def test_a_portable_name_is_one_on_windows_too() -> None:
    assert portable("https://example.com/1.jpg?v=2") == "https_/example.com/1.jpg_v=2.jpg"
    assert portable("..\\..\\x") == ".._.._x.jpg"
    assert portable("aux/con.txt/x. ") == "_aux/_con.txt/x.jpg"
    assert portable(" . /..") == f"{ID}.jpg"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=600), st.integers(1, 4))
def test_every_name_is_one_that_file_systems_take(custom_id: str, outputs: int) -> None:
    wanted = job(custom_id, outputs=outputs)
    for candidate in local_names(wanted, wanted.outputs[-1], is_portable=True):
        assert not PurePosixPath(candidate).is_absolute()
        assert PureWindowsPath(candidate).drive == ""
        assert not {"", ".", ".."} & set(candidate.split("/"))
        assert max(len(part.encode()) for part in candidate.split("/")) <= 255


def test_names_that_had_to_be_cut_stay_different() -> None:
    names = {name("x" * length) for length in (300, 301, 512)}
    assert len(names) == 3
    assert all(each.endswith(".jpg") for each in names)


def taken(*jobs: JobResult) -> list[str]:
    names = TakenNames()
    try:
        return [names.take(local_names(each, output)) for each in jobs for output in each.outputs]
    finally:
        names.close()


@pytest.mark.parametrize(
    ("one", "other", "called"),
    [
        ("a/1.jpg", "a/1", "a/1-00000008.jpg"),
        ("A/1.jpg", "a/1.JPG.jpg", "a/1.JPG.jpg"),
        ("A/1.jpg", "a/1.jpg", "a/1-00000008.jpg"),
        ("e\u0301.jpg", "\u00e9.jpg", "\u00e9-00000008.jpg"),
        ("a/1.jpg/x", "a/1.jpg", "a/1-00000008.jpg"),
        ("a/1.jpg", "a/1.jpg/x", f"{uuid.UUID(int=8)}-0.jpg"),
    ],
)
def test_two_that_clash_are_told_apart(one: str, other: str, called: str) -> None:
    assert taken(job(one), job(other, job_id=uuid.UUID(int=8)))[1] == called


def test_several_outputs_that_clash_stay_beside_each_other() -> None:
    names = taken(job("1.jpg", outputs=2), job("1", outputs=2, job_id=uuid.UUID(int=8)))
    assert names == ["1-0.jpg", "1-1.jpg", "1-00000008-0.jpg", "1-00000008-1.jpg"]
