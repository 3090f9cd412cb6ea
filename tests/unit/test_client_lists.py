"""Lists page after page, and results line by line, however many there are."""

import json
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photabatch import ApiError, ConnectionFailed, NotFound
from photabatch._lines import Lines
from tests.unit.client_fake import Connect, FakeApi, Pieces, both, problem

OUTPUT = {"index": 0, "key": "out/a.jpg", "bytes": 4, "sha256": "ab", "url": "https://s3.example/a"}
GOOD = {
    "id": "j1",
    "custom_id": "a\u2028b.jpg",
    "state": "succeeded",
    "response": {"outputs": [OUTPUT], "cost_usd": 0.1},
}
BAD = {"id": "j2", "custom_id": None, "state": "failed", "error": {"code": "timeout", "message": "m"}}


def page(ids: list[str], *, more: bool) -> dict[str, Any]:
    data = [{"id": each, "state": "failed", "status": "failed"} for each in ids]
    return {"data": data, "has_more": more, "next_after": ids[-1] if more else None}


def line(result: dict[str, Any]) -> bytes:
    return json.dumps(result, ensure_ascii=False).encode() + b"\n"


def split(pieces: list[bytes]) -> list[bytes]:
    lines = Lines()
    return [each for piece in pieces for each in lines.feed(piece)] + [lines.rest()]


def cut(text: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(text)) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(ends)]


@given(st.lists(st.binary(max_size=5)), st.lists(st.integers(0, 40)))
def test_lines_are_the_same_wherever_pieces_end(lines: list[bytes], places: list[int]) -> None:
    text = b"\r\n".join(lines)
    assert split(cut(text, places)) == split([text])
    assert split([bytes([each]) for each in text]) == text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


@both
def test_pages_are_walked_to_the_end(connect: Connect) -> None:
    api = FakeApi(page(["b3", "b2"], more=True), page(["b1"], more=False))
    with connect(api) as client:
        assert [batch.id for batch in client.batches(status="failed")] == ["b3", "b2", "b1"]
    assert [seen.query for seen in api.seen] == [
        [("status", "failed"), ("limit", "100")],
        [("status", "failed"), ("limit", "100"), ("after", "b2")],
    ]


@both
def test_jobs_are_asked_for_by_state_and_code(connect: Connect) -> None:
    api = FakeApi(page(["j1"], more=True), page([], more=False))
    with connect(api) as client:
        assert [job.id for job in client.jobs("b1", state="failed", code="timeout")] == ["j1"]
    assert api.seen[1].path == "/v1/batches/b1/jobs"
    assert dict(api.seen[1].query) == {"state": "failed", "code": "timeout", "limit": "100", "after": "j1"}


@both
def test_no_page_is_asked_for_before_it_is_needed(connect: Connect) -> None:
    api = FakeApi(page(["b2"], more=True), page(["b1"], more=False))
    with connect(api) as client:
        assert next(client.batches()).id == "b2"
    assert len(api.seen) == 1


@both
def test_results_are_read(connect: Connect) -> None:
    api = FakeApi(httpx.Response(200, stream=Pieces(line(GOOD), b"\n", line(BAD)[:-1])))
    with connect(api) as client:
        good, bad = client.results("b1")
    assert (good.custom_id, good.outputs[0].url, good.error) == ("a\u2028b.jpg", "https://s3.example/a", None)
    assert (bad.state, bad.outputs, bad.error and bad.error.code) == ("failed", (), "timeout")
    assert api.seen[0].headers["accept"] == "application/x-ndjson"


@both
def test_results_come_while_the_answer_is_still_on_its_way(connect: Connect) -> None:
    body = Pieces(*[line(GOOD)] * 1000)
    with connect(FakeApi(httpx.Response(200, stream=body))) as client:
        results = client.results("b1")
        for number in range(1, 4):
            assert next(results).id == "j1"
            assert body.sent == number


@both
def test_results_that_break_off_are_not_taken_for_all(connect: Connect) -> None:
    body = Pieces(line(GOOD), httpx.RemoteProtocolError("peer closed connection"))
    with connect(FakeApi(httpx.Response(200, stream=body))) as client:
        results = client.results("b1")
        assert next(results).id == "j1"
        with pytest.raises(ConnectionFailed, match="broke off"):
            next(results)
    assert body.is_closed


@both
def test_a_result_that_cannot_be_read_is_told(connect: Connect) -> None:
    api = FakeApi(httpx.Response(200, stream=Pieces(b'{"id": "j1"}\n')), problem(404, "not_found"))
    with connect(api) as client:
        with pytest.raises(ApiError, match="cannot be read"):
            list(client.results("b1"))
        with pytest.raises(NotFound):
            list(client.results("b2"))
