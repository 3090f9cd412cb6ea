"""When the client of the HTTP API asks again, and that it never asks for something else."""

import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photabatch import ConnectionFailed, Retry, TooManyRequests, Unavailable
from photabatch._answers import retry_after_s
from photabatch._retries import pause_s
from tests.unit.client_fake import (
    BATCH,
    SUBMITTED,
    UPLOADED,
    Connect,
    FakeApi,
    Pieces,
    asynchronous,
    blocking,
    both,
    keys_of,
    problem,
)

JOBS: list[dict[str, Any]] = [{"operation": "generate", "params": {"prompt": "p" * 1000}} for _ in range(1000)]
LOST = httpx.ReadError("reset by peer")
REFUSED = httpx.ConnectError("refused")
BUSY = problem(503, "temporarily_unavailable")


def pause(tried: int, *, elapsed_s: float = 0, retry_after_s: float | None = None, seed: int = 0) -> float | None:
    source = random.Random(seed)
    return pause_s(Retry(), tried, elapsed_s=elapsed_s, retry_after_s=retry_after_s, random_source=source)


@given(st.integers(1, 4), st.integers(), st.floats(0, 100))
def test_a_pause_is_bounded_and_longer_than_was_asked_for(tried: int, seed: int, retry_after: float) -> None:
    first, later = pause(tried, seed=seed), pause(tried, retry_after_s=retry_after, seed=seed)
    assert first is not None
    assert later is not None
    assert 0 <= first <= min(8, 0.5 * 2 ** (tried - 1))
    assert retry_after <= later <= retry_after + 8


def test_pauses_grow_in_the_mean() -> None:
    means = [sum(pause(tried, seed=seed) or 0 for seed in range(300)) / 300 for tried in (1, 2, 3, 4)]
    assert means == sorted(means)


def test_it_ends_by_count_and_by_time() -> None:
    assert pause(5) is None
    assert pause(1, elapsed_s=121) is None
    assert pause(1, retry_after_s=121) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_s(value, now=datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


@both
@pytest.mark.parametrize("trouble", [LOST, REFUSED, httpx.ReadTimeout("slow"), BUSY, problem(429, "rate_limited")])
def test_the_same_request_goes_again_with_the_same_key(connect: Connect, trouble: Exception | httpx.Response) -> None:
    api = FakeApi(trouble, trouble, SUBMITTED)
    with connect(api) as client:
        assert client.submit_batch(JOBS, name="x").accepted == 3
    assert len(set(keys_of(api.seen))) == 1
    assert len(api.seen) == 3
    bodies = {seen.body for seen in api.seen if seen.body}
    assert [body.count(b"\n") for body in bodies] == [1000]


@both
def test_an_answer_that_breaks_off_is_asked_for_again(connect: Connect) -> None:
    api = FakeApi(httpx.Response(200, stream=Pieces(b'{"id":', LOST)), BATCH)
    with connect(api) as client:
        assert client.pause("b1").id == "b1"
    assert len(set(keys_of(api.seen))) == 1


@both
def test_our_own_earlier_try_is_waited_for(connect: Connect) -> None:
    api = FakeApi(LOST, problem(409, "idempotency_in_progress"), SUBMITTED)
    with connect(api) as client:
        assert client.submit_batch(tuple(JOBS)).id == "b1"


@both
def test_what_can_be_read_once_is_sent_once(connect: Connect, tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b"{}\n")
    for verb, jobs in (("submit_batch", iter(JOBS)), ("submit_manifest", path.open("rb"))):
        api = FakeApi(LOST)
        with connect(api) as client, pytest.raises(ConnectionFailed, match="only once") as caught:
            getattr(client, verb)(jobs)
        assert keys_of(api.seen) == [caught.value.idempotency_key]


@both
def test_what_was_not_read_yet_can_be_sent(connect: Connect) -> None:
    api = FakeApi(REFUSED, SUBMITTED)
    with connect(api) as client:
        client.submit_batch(iter(JOBS))
    assert api.seen[1].body.count(b"\n") == 1000


@both
def test_a_generator_is_not_gathered(connect: Connect) -> None:
    made: list[int] = []

    def jobs() -> Iterator[dict[str, Any]]:
        for number in range(1000):
            made.append(number)
            yield JOBS[0]

    def answer(_: object) -> dict[str, Any]:
        return SUBMITTED

    api = FakeApi(by=answer)
    with connect(api) as client:
        client.submit_batch(jobs())
    assert len(made) == 1000
    assert len(api.seen[0].pieces) == 4
    assert max(map(len, api.seen[0].pieces)) < 300_000


def test_jobs_may_come_from_an_asynchronous_generator() -> None:
    async def jobs() -> AsyncIterator[dict[str, Any]]:
        for job in JOBS:
            yield job

    api = FakeApi(SUBMITTED)
    with asynchronous(api) as client:
        client.submit_batch(jobs())  # type: ignore[arg-type]
    assert api.seen[0].body.count(b"\n") == 1000
    with blocking(api) as client, pytest.raises(TypeError, match="AsyncClient"):
        client.submit_batch(jobs())  # type: ignore[arg-type]


@both
def test_a_generator_that_fails_is_told_as_it_is(connect: Connect) -> None:
    def jobs() -> Iterator[dict[str, Any]]:
        yield JOBS[0]
        raise LookupError("no such photo")

    with connect(FakeApi()) as client, pytest.raises(LookupError, match="no such photo"):
        client.submit_batch(jobs())


@both
def test_it_gives_up_with_the_last_trouble(connect: Connect) -> None:
    with connect(FakeApi(*[LOST] * 4, BUSY)) as client, pytest.raises(Unavailable):
        client.batch("b1")
    with connect(FakeApi(*[BUSY] * 4, LOST)) as client, pytest.raises(ConnectionFailed, match=r"after 5 tries.*reset"):
        client.batch("b1")


@both
def test_it_does_not_wait_longer_than_it_may(connect: Connect) -> None:
    api = FakeApi(problem(429, "queue_full", headers={"Retry-After": "30"}))
    with connect(api, retry=Retry(total_s=29)) as client, pytest.raises(TooManyRequests) as caught:
        client.submit_batch(JOBS)
    assert (caught.value.retry_after, len(api.seen)) == (30, 1)


@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 415, 422, 500])
def test_a_refusal_is_not_asked_for_again(connect: Connect, status: int) -> None:
    api = FakeApi(problem(status, "no"))
    with connect(api) as client, pytest.raises(Exception, match="Do this") as caught:
        client.submit_batch(JOBS)
    assert len(api.seen) == 1
    assert getattr(caught.value, "status", None) == status


@both
def test_an_upload_is_read_anew_from_disk(connect: Connect, tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"jpeg" * 100_000)
    api = FakeApi(LOST, UPLOADED)
    with connect(api) as client:
        client.upload(photo)
    assert [seen.body for seen in api.seen] == [photo.read_bytes()] * 2
