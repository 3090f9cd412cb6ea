"""What the client of the HTTP API sends, and where its key goes."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.requests import BatchBody
from photabatch import AsyncClient, BatchOptions, BatchStatus, Client, NotConfigured, PhotabatchError, _calls
from tests.unit.client_fake import BATCH, DONE, KEY, SUBMITTED, UPLOADED, URL, Connect, FakeApi, Seen, both, keys_of

JOB = {"operation": "enhance", "params": {"image": "https://example.com/a.jpg"}}
JOBS = [JOB | {"custom_id": str(number)} for number in range(3)]


def sent(connect: Connect, answer: dict[str, Any], verb: str, /, *arguments: Any, **options: Any) -> Seen:
    """The request of one call."""
    api = FakeApi(answer)
    with connect(api) as client:
        getattr(client, verb)(*arguments, **options)
    return api.seen[0]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_address_and_key_come_from_the_environment(kind: type[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTABATCH_API_URL", "https://photos.example/api/")
    monkeypatch.setenv("PHOTABATCH_API_KEY", "pb_1")
    api = FakeApi(BATCH)
    with Client(http=httpx.Client(transport=api)) as client:
        client.batch("b1")
    assert api.seen[0].headers["host"] == "photos.example"
    assert (api.seen[0].path, api.seen[0].headers["authorization"]) == ("/api/v1/batches/b1", "Bearer pb_1")
    monkeypatch.delenv("PHOTABATCH_API_KEY")
    with pytest.raises(NotConfigured, match="set PHOTABATCH_API_KEY"):
        kind()


@pytest.mark.parametrize(
    "url", ["api.example.com", "ftp://api.example.com", "https://u:p@api.example.com", "http://api:port"]
)
def test_an_address_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(NotConfigured, match="API address"):
        Client(url, KEY)


@pytest.mark.parametrize("key", ["pb_\n1", "pb_ü", "pb 1", "  "])
def test_a_key_that_was_not_copied_whole_is_refused(key: str) -> None:
    with pytest.raises(NotConfigured):
        Client(URL, key)


@both
def test_a_redirect_is_told_and_the_key_not_taken_along(connect: Connect) -> None:
    api = FakeApi(httpx.Response(307, headers={"Location": "https://evil.example/"}), BATCH)
    with connect(api) as client, pytest.raises(PhotabatchError, match=r"evil\.example.*307"):
        client.batch("b1")
    assert len(api.seen) == 1


@both
def test_every_post_has_a_key_of_its_own(connect: Connect) -> None:
    api = FakeApi({"id": "j1", "state": "queued"}, SUBMITTED, UPLOADED, BATCH, BATCH, BATCH, BATCH)
    with connect(api) as client:
        client.submit_job(JOB)
        client.submit_batch(JOBS)
        client.upload(b"jpeg")
        for verb in (client.pause, client.resume, client.cancel, client.retry):
            verb("b1")
    assert len(set(keys_of(api.seen))) == 7
    assert all(len(key) == 32 for key in keys_of(api.seen))


@both
def test_a_key_may_be_given(connect: Connect) -> None:
    assert keys_of([sent(connect, SUBMITTED, "submit_batch", JOBS, idempotency_key="order-7")]) == ["order-7"]
    assert keys_of([sent(connect, BATCH, "retry", "b1", idempotency_key="again")]) == ["again"]
    for bad in ("", "a b", "ü", "x" * 256):
        with pytest.raises(ValueError, match="idempotency_key"):
            sent(connect, BATCH, "pause", "b1", idempotency_key=bad)


@both
def test_jobs_go_as_lines_and_options_as_query(connect: Connect) -> None:
    options = {"webhook_events": ["job.failed", "job.expired"], "skip_invalid": True, "name": "a b", "priority": None}
    seen = sent(connect, SUBMITTED, "submit_batch", JOBS, budget_usd=Decimal("0.10"), **options)
    assert (seen.method, seen.path, seen.headers["content-type"]) == ("POST", "/v1/batches", "application/x-ndjson")
    assert [json.loads(line) for line in seen.body.splitlines()] == JOBS
    assert seen.query == [
        ("budget_usd", "0.10"),
        ("name", "a b"),
        ("skip_invalid", "true"),
        ("webhook_events", "job.failed"),
        ("webhook_events", "job.expired"),
    ]


@both
def test_limits_go_as_the_server_reads_them(connect: Connect) -> None:
    deadline = datetime(2030, 1, 1, 6, tzinfo=timezone(timedelta(hours=1)))
    limits = {"window": "22:00-06:00@Europe/Paris", "deadline": deadline, "max_failure_rate": 0.2}
    assert sent(connect, SUBMITTED, "submit_batch", JOBS, **limits).query == [
        ("deadline", "2030-01-01T06:00:00+01:00"),
        ("max_failure_rate", "0.2"),
        ("window", "22:00-06:00@Europe/Paris"),
    ]
    assert sent(connect, SUBMITTED, "submit_batch", JOBS, metadata={"a": "b"}, **limits).json["deadline"] == (
        "2030-01-01T06:00:00+01:00"
    )


def test_every_option_of_the_server_may_be_given() -> None:
    assert set(BatchBody.model_fields) - {"jobs"} == BatchOptions.__optional_keys__ - {"idempotency_key"}


@both
def test_metadata_needs_the_json_form(connect: Connect) -> None:
    seen = sent(connect, SUBMITTED, "submit_batch", iter(JOBS), metadata={"shoot": "7"}, budget_usd=Decimal("0.5"))
    assert (seen.headers["content-type"], seen.query) == ("application/json", [])
    assert seen.json == {"metadata": {"shoot": "7"}, "budget_usd": 0.5, "jobs": JOBS}
    with pytest.raises(ValueError, match="at most 10000 jobs"):
        sent(connect, SUBMITTED, "submit_batch", (JOB for _ in range(10_001)), metadata={"shoot": "7"})


@both
def test_a_manifest_goes_as_it_is(connect: Connect, tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b'{"operation": "enhance"}\n' * 50_000)
    for manifest in (path, str(path), path.open("rb")):
        seen = sent(connect, SUBMITTED, "submit_manifest", manifest, name="x")
        assert (seen.body, seen.query) == (path.read_bytes(), [("name", "x")])
        assert max(map(len, seen.pieces)) <= 256 * 1024
    with pytest.raises(TypeError, match="metadata"):
        sent(connect, SUBMITTED, "submit_manifest", path, metadata={"a": "b"})


@both
def test_an_estimate_takes_what_a_batch_takes(connect: Connect, tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b"{}\n")
    answer = {"jobs": 3, "cost_usd": {"low": 0.1, "high": 0.3}, "warnings": [{"code": "costly", "message": "m"}]}
    for jobs in (JOBS, path, path.open("rb")):
        seen = sent(connect, answer, "estimate", jobs)
        assert (seen.path, seen.headers["content-type"]) == ("/v1/estimates", "application/x-ndjson")


@both
def test_an_upload_says_name_and_length(connect: Connect, tmp_path: Path) -> None:
    photo = tmp_path / "a b.jpg"
    photo.write_bytes(b"x" * 600_000)
    seen = sent(connect, UPLOADED, "upload", photo, name="a b.jpg")
    assert (seen.path, seen.query, seen.body) == ("/v1/uploads", [("name", "a b.jpg")], photo.read_bytes())
    assert seen.headers["content-length"] == "600000"
    assert "transfer-encoding" not in seen.headers
    assert sent(connect, UPLOADED, "upload", b"jpeg").body == b"jpeg"


@both
def test_what_is_wrong_is_refused_before_anything_is_sent(connect: Connect) -> None:
    api = FakeApi()
    with connect(api) as client:
        for jobs, options in (("jobs.jsonl", {}), (JOB, {}), (7, {}), (JOBS, {"nmae": "x"}), ([object()], {})):
            with pytest.raises(TypeError):
                client.submit_batch(jobs, **options)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="JSON"):
            client.submit_job({"params": {"x": float("nan")}})
    assert [seen.body for seen in api.seen] == [b""] * len(api.seen)


@both
def test_only_what_is_said_is_sent_with_a_verb(connect: Connect) -> None:
    assert sent(connect, BATCH, "resume", "b1").body == b""
    assert sent(connect, BATCH, "resume", "b1", budget_usd=Decimal("2.5")).json == {"budget_usd": 2.5}
    assert sent(connect, BATCH, "retry", "b1", code="timeout", pay_again=True).json == {
        "code": "timeout",
        "pay_again": True,
    }


@both
def test_moments_may_be_datetimes(connect: Connect) -> None:
    seen = sent(
        connect, {"id": "j", "state": "queued"}, "submit_job", JOB | {"not_before": datetime(2026, 5, 1, tzinfo=UTC)}
    )
    assert seen.json["not_before"] == "2026-05-01T00:00:00+00:00"


@both
def test_a_batch_object_stands_for_its_id(connect: Connect) -> None:
    api = FakeApi(BATCH, DONE)
    with connect(api) as client:
        assert client.batch(client.batch("b1")).status == BatchStatus.COMPLETED
    assert api.seen[1].path == "/v1/batches/b1"


@given(st.text(min_size=1))
def test_an_id_stays_one_segment_of_the_path(text: str) -> None:
    try:
        path = _calls.batch(text).path
    except (ValueError, UnicodeEncodeError):
        return
    assert path.count("/") == 3
    assert urlsplit(path).query == ""
    assert httpx.URL(URL + path).raw_path.startswith(b"/photabatch/v1/batches/")


@pytest.mark.parametrize("text", ["", ".", ".."])
def test_an_id_that_changes_the_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="id"):
        _calls.job(text)


@both
def test_a_submission_may_take_its_time(connect: Connect) -> None:
    assert sent(connect, SUBMITTED, "submit_batch", JOBS).timeouts["read"] == 600
    assert sent(connect, BATCH, "batch", "b1").timeouts["read"] == 5  # httpx's own, of a client that was given
