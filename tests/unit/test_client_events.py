"""Server-sent events of a batch, and waiting for its end."""

import json
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photabatch import ApiError, Batch, ConnectionFailed, Forbidden, NotFound, WaitTimeout
from photabatch._retries import Retry
from photabatch._sse import EventReader, ServerEvent
from photabatch._waiting import Following, Waiting
from photabatch.states import BatchStatus
from tests.unit.client_fake import BATCH, DONE, Connect, FakeApi, Pieces, Seen, both, problem

STREAM = (
    b"\xef\xbb\xbfevent: progress\r\n: welcome\r\ndata: {\r\ndata:}\r\n\r\nevent: dropped\r\n\r\n"
    b":\n\ndata: 1\nid: 7\nretry: 9\nunknown\n\nevent: end\rdata:  \xe2\x82\xac\r\rdata: cut off"
)
EVENTS = [ServerEvent("progress", "{\n}"), ServerEvent("message", "1"), ServerEvent("end", " €")]
LOST = httpx.ReadError("reset")


def event(kind: str, batch: dict[str, Any]) -> bytes:
    return f"event: {kind}\r\ndata: {json.dumps(batch)}\r\n\r\n".encode()


def stream(*pieces: bytes | Exception) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Pieces(*pieces))


def grown(succeeded: int) -> dict[str, Any]:
    return BATCH | {"counts": {"succeeded": succeeded, "total": 3}}


@given(st.lists(st.integers(0, len(STREAM))))
def test_events_are_the_same_wherever_pieces_end(places: list[int]) -> None:
    ends = sorted({*places, 0, len(STREAM)})
    reader = EventReader()
    pieces = [STREAM[start:end] for start, end in pairwise(ends)]
    assert [event for piece in pieces for event in reader.feed(piece)] == EVENTS


def test_an_event_is_told_as_soon_as_it_is_complete() -> None:
    for end in (b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n\r"):
        assert EventReader().feed(b"data: 1" + end) == [ServerEvent("message", "1")]


@both
def test_every_change_is_told_until_the_end(connect: Connect) -> None:
    api = FakeApi(stream(b": hello\n\n", event("progress", grown(1)), event("new kind", {}), event("end", DONE), LOST))
    with connect(api) as client:
        assert [batch.status for batch in client.events("b1")] == ["running", "completed"]
    assert (api.seen[0].path, api.seen[0].headers["accept"]) == ("/v1/batches/b1/events", "text/event-stream")
    assert (api.seen[0].headers["accept-encoding"], api.seen[0].timeouts["read"]) == ("identity", 45)


@both
def test_a_stream_that_is_lost_is_taken_up_again(connect: Connect) -> None:
    api = FakeApi(
        stream(event("progress", grown(1)), LOST),
        stream(event("progress", grown(2))[:30]),
        httpx.ConnectError("refused"),
        problem(503, "temporarily_unavailable"),
        stream(event("end", DONE)),
    )
    with connect(api) as client:
        assert [batch.status for batch in client.events("b1")] == ["running", "completed"]
    assert len(api.seen) == 5


@both
def test_a_stream_that_says_nothing_is_given_up(connect: Connect) -> None:
    api = FakeApi(by=lambda _: stream(b": hello\n\n"))
    with connect(api) as client, pytest.raises(ConnectionFailed, match="again and again"):
        list(client.events("b1"))
    assert len(api.seen) == 50


@both
def test_an_api_that_is_gone_is_given_up(connect: Connect) -> None:
    api = FakeApi(by=lambda _: httpx.ConnectError("refused"))
    with connect(api) as client, pytest.raises(ConnectionFailed, match="refused"):
        list(client.events("b1"))
    assert len(api.seen) == 50


@both
def test_a_stream_that_is_refused_is_not_asked_for_again(connect: Connect) -> None:
    api = FakeApi(problem(404, "not_found"), stream(event("progress", {"id": "b1"})))
    with connect(api) as client:
        with pytest.raises(NotFound):
            list(client.events("b1"))
        with pytest.raises(ApiError, match="cannot be read"):
            list(client.events("b1"))


@both
def test_waiting_ends_with_the_batch(connect: Connect) -> None:
    seen: list[Batch] = []
    changes = [event("progress", grown(each)) for each in (1, 1, 2)]
    with connect(FakeApi(stream(*changes, event("end", DONE)))) as client:
        assert client.wait("b1", on_progress=seen.append).is_final
    assert [batch.counts.succeeded for batch in seen] == [1, 2, 2]
    assert seen[-1].status == BatchStatus.COMPLETED


@both
@pytest.mark.parametrize("trouble", [problem(406, "http_406"), httpx.Response(200, html="<html>"), LOST])
def test_where_no_events_come_through_it_looks(connect: Connect, trouble: httpx.Response | Exception) -> None:
    def answer(seen: Seen) -> httpx.Response | Exception | dict[str, Any]:
        return trouble if seen.path.endswith("/events") else DONE

    with connect(FakeApi(by=answer)) as client:
        assert client.wait("b1").status == BatchStatus.COMPLETED


@both
def test_waiting_has_an_end(connect: Connect) -> None:
    with connect(FakeApi(grown(2))) as client, pytest.raises(WaitTimeout, match="2 jobs finished") as caught:
        client.wait("b1", timeout=0)
    assert caught.value.batch is not None
    assert caught.value.batch.status == BatchStatus.RUNNING


@both
def test_waiting_for_nothing_is_told(connect: Connect) -> None:
    with connect(FakeApi(by=lambda _: problem(403, "missing_scope"))) as client, pytest.raises(Forbidden):
        client.wait("b1")


@both
def test_an_error_of_on_progress_is_the_callers(connect: Connect) -> None:
    def refuse(_: Batch) -> None:
        raise NotFound("mine")

    with connect(FakeApi(stream(event("progress", grown(1))))) as client, pytest.raises(NotFound, match="mine"):
        client.wait("b1", on_progress=refuse)


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_time_limit_is_heard_first_and_looked_at_last() -> None:
    clock = Clock()
    waiting = Waiting(100, None, Retry(), clock=clock)
    following = Following(Retry(), until=waiting.follow_until, clock=clock)
    assert (following.is_over, following.silence_s) == (False, 45)
    clock.now += 60
    assert (following.is_over, following.silence_s) == (False, 20)
    clock.now += 20
    assert following.is_over
    assert (waiting.read_s, waiting.retry.total_s, waiting.pause_s()) == (20, 20, 5)
    clock.now += 20
    assert waiting.pause_s() is None


def test_without_a_time_limit_looks_become_rarer() -> None:
    clock = Clock()
    waiting = Waiting(None, None, Retry(), clock=clock)
    pauses = []
    for _ in range(4):
        pauses.append(waiting.pause_s())
        clock.now += 20
    assert pauses == [0.5, 2, 4, 5]
    assert (waiting.read_s, waiting.follow_until) == (None, None)


def test_patience_begins_anew_with_every_event() -> None:
    clock = Clock()
    following = Following(Retry(total_s=10, base_s=0), clock=clock)
    following.connected(httpx.Response(200))
    for _ in range(20):
        following.feed(event("progress", BATCH))
        clock.now += 49
        assert following.pause_after(None) == 0
    clock.now += 2
    with pytest.raises(ConnectionFailed):
        following.pause_after(None)
