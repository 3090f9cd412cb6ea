"""Pictures into a folder: whole, verified, below it, and over nobody else's file."""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from photabatch import DownloadFailed, JobState
from photabatch._downloads import Wanted, names_of
from photabatch.types import Output, Result
from tests.unit.client_fake import KEY, Answer, Connect, FakeApi, Seen, both

JPEG = b"jpeg" * 1000


def output(name: str, content: bytes = JPEG, **changes: Any) -> dict[str, Any]:
    told = {"index": 0, "key": f"out/{name}", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return told | {"url": f"https://s3.example/{name}?X-Amz-Signature=canary"} | changes


def result(job_id: str, custom_id: str | None, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"id": job_id, "custom_id": custom_id, "state": "succeeded", "response": {"outputs": outputs}}


def told(*results: dict[str, Any]) -> FakeApi:
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in results)
    return FakeApi(by=lambda _: httpx.Response(200, content=lines))


def storage(*answers: Answer) -> FakeApi:
    """Answers in turn, and then always with the picture."""
    left = list(answers)
    return FakeApi(by=lambda _: left.pop(0) if left else httpx.Response(200, content=JPEG))


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wanted(custom_id: str | None, *, key: str = "out/a.jpg", outputs: int = 1, job_id: str = "job-12345678") -> Wanted:
    found = tuple(Output(index, key=key) for index in range(outputs))
    return Wanted(Result(job_id, JobState.SUCCEEDED, custom_id, found), found[-1])


@pytest.mark.parametrize(
    ("custom_id", "outputs", "name"),
    [
        ("a/1.jpg", 1, "a/1.jpg"),
        ("a/1.heic", 1, "a/1.heic.jpg"),
        ("a/1.jpg", 2, "a/1-1.jpg"),
        (None, 1, "job-12345678.jpg"),
        ("../../etc/passwd", 1, "etc/passwd.jpg"),
        ("/etc//./passwd", 1, "etc/passwd.jpg"),
        ("..", 1, "job-12345678.jpg"),
        ("a\0b\n", 1, "a_b_.jpg"),
        (".jpg", 1, ".jpg.jpg"),
    ],
)
def test_a_file_is_called_like_its_job(custom_id: str | None, outputs: int, name: str) -> None:
    assert names_of(wanted(custom_id, outputs=outputs), is_windows=False)[0] == name


def test_on_windows_nothing_special_is_left() -> None:
    names = ("C:\\x\\..\\y", "a/con.txt", "a:b", "x. /y", "..\\..\\z", "nul")
    assert [names_of(wanted(name), is_windows=True)[0] for name in names] == [
        "C__x_.._y.jpg",
        "a/_con.txt.jpg",
        "a_b.jpg",
        "x/y.jpg",
        ".._.._z.jpg",
        "_nul.jpg",
    ]


@given(st.one_of(st.none(), st.text(max_size=600)), st.text(max_size=40), st.text(max_size=40), st.booleans())
@example("a/../../" + "ü" * 500, "x/.../y", "../../j", False)
@example("..\\..\\a", "a.jpg\0", "..", True)
def test_no_name_leads_out_of_the_folder(custom_id: str | None, key: str, job_id: str, is_windows: bool) -> None:
    for name in names_of(wanted(custom_id, key=key, job_id=job_id), is_windows=is_windows):
        parts = name.split("/")
        assert not PurePosixPath(name).is_absolute()
        assert not {"", ".", ".."} & set(parts)
        assert all(len(part.encode()) <= 255 for part in parts)
        assert not any(ord(letter) < 32 for letter in name)
        assert not (is_windows and any(letter in name for letter in '\\:*?"<>|'))


@both
def test_outputs_mirror_the_jobs(connect: Connect, tmp_path: Path) -> None:
    api = told(
        result("job-1", "trip/a.jpg", output("a.jpg")),
        result("job-2", "trip/b.heic", output("b0.jpg"), output("b1.jpg", index=1)),
        {"id": "job-3", "state": "failed", "error": {"code": "timeout", "message": "m"}},
        result("job-4", "../../../../out.jpg", output("c.jpg")),
    )
    with connect(api, files=storage()) as client:
        paths = client.download("b1", tmp_path / "to")
    names = ["trip/a.jpg", "trip/b.heic-0.jpg", "trip/b.heic-1.jpg", "out.jpg"]
    assert paths == [tmp_path / "to" / name for name in names]
    assert files_in(tmp_path) == {f"to/{name}": JPEG for name in names}


@both
def test_the_key_stays_with_the_api(connect: Connect, tmp_path: Path) -> None:
    files = storage(httpx.Response(307, headers={"Location": "https://other.example/a.jpg"}))
    with connect(told(result("job-1", "a.jpg", output("a.jpg"))), files=files) as client:
        client.download("b1", tmp_path)
    assert [seen.headers["host"] for seen in files.seen] == ["s3.example", "other.example"]
    assert not any(KEY in str(seen.headers.raw) for seen in files.seen)


@both
def test_what_is_there_is_left_alone(connect: Connect, tmp_path: Path) -> None:
    files = storage()
    with connect(told(result("job-1", "a.jpg", output("a.jpg"))), files=files) as client:
        first = client.download("b1", tmp_path)
        made = first[0].stat().st_mtime_ns
        assert client.download("b1", tmp_path) == first
    assert (len(files.seen), first[0].stat().st_mtime_ns) == (1, made)


@both
def test_a_file_of_somebody_else_is_never_written_over(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"mine")
    (tmp_path / "b").write_bytes(b"no folder")
    api = told(result("job-00000001", "a.jpg", output("a.jpg")), result("job-00000002", "b/c.jpg", output("c.jpg")))
    with connect(api, files=storage()) as client:
        first = client.download("b1", tmp_path)
        assert client.download("b1", tmp_path) == first
    assert files_in(tmp_path) == {
        "a.jpg": b"mine",
        "b": b"no folder",
        "a-00000001.jpg": JPEG,
        "job-00000002-0.jpg": JPEG,
    }


@both
def test_jobs_of_one_name_both_get_a_file(connect: Connect, tmp_path: Path) -> None:
    def answer(seen: Seen) -> httpx.Response:
        return httpx.Response(200, content=seen.path.encode())

    outputs = [output(name, f"/{name}".encode()) for name in ("1.jpg", "2.jpg")]
    api = told(result("job-00000001", "a", outputs[0]), result("job-00000002", "a.jpg", outputs[1]))
    with connect(api, files=FakeApi(by=answer)) as client:
        paths = client.download("b1", tmp_path)
        assert sorted(client.download("b1", tmp_path)) == sorted(paths)
    assert [path.read_bytes() for path in paths] == [b"/1.jpg", b"/2.jpg"]


@both
@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ReadError("reset"),
        httpx.Response(500),
        httpx.Response(503, headers={"Retry-After": "0"}),
        httpx.Response(200, content=JPEG[:-1]),
        httpx.Response(200, content=b"<html>"),
    ],
)
def test_a_bad_download_is_tried_again(connect: Connect, trouble: Answer, tmp_path: Path) -> None:
    files = storage(trouble, trouble)
    with connect(told(result("job-1", "a.jpg", output("a.jpg"))), files=files) as client:
        client.download("b1", tmp_path)
    assert len(files.seen) == 3
    assert files_in(tmp_path) == {"a.jpg": JPEG}


@both
@pytest.mark.parametrize(
    ("answer", "tries", "reason"),
    [
        (httpx.Response(403), 1, "storage answered 403"),
        (httpx.Response(200, content=b"other"), 5, "another SHA-256"),
        (httpx.ReadTimeout("slow"), 5, "no answer from storage"),
    ],
)
def test_what_cannot_be_had_leaves_nothing_behind(
    connect: Connect, answer: Answer, tries: int, reason: str, tmp_path: Path
) -> None:
    files = FakeApi(by=lambda _: answer)
    with (
        connect(told(result("job-1", "a.jpg", output("a.jpg"))), files=files) as client,
        pytest.raises(DownloadFailed, match=reason) as caught,
    ):
        client.download("b1", tmp_path)
    assert (caught.value.job_id, caught.value.index, len(files.seen)) == ("job-1", 0, tries)
    assert "canary" not in str(caught.value)
    assert files_in(tmp_path) == {}


@both
@pytest.mark.parametrize("url", [None, "", "http://a:port/"])
def test_an_address_that_is_none_is_told(connect: Connect, url: str | None, tmp_path: Path) -> None:
    api = told(result("job-1", "a.jpg", output("a.jpg", url=url)))
    with connect(api, files=storage()) as client, pytest.raises(DownloadFailed, match=r"output 0 of a\.jpg"):
        client.download("b1", tmp_path)


@both
def test_the_first_failure_ends_it(connect: Connect, tmp_path: Path) -> None:
    files = storage(httpx.Response(404))
    api = told(*(result(f"job-{number}", f"{number}.jpg", output("a.jpg")) for number in range(500)))
    with connect(api, files=files) as client, pytest.raises(DownloadFailed):
        client.download("b1", tmp_path)
    assert len(files.seen) < 50
