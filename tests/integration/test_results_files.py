"""`photabatch results` to a zip, a report, a folder and lines; on a real database and a real bucket."""

import csv
import hashlib
import io
import json
import sys
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from sqlalchemy import Engine, text

from cli.main import main
from clients.storage import Storage
from models import reports
from producer.batches import open_batch
from producer.results import zips
from producer.submission import insert
from sandbox.stack import Stack
from settings import get_settings
from tests.integration.conftest import add_batch, photo
from tests.integration.ended_jobs import fail, succeed

BUCKET = "photabatch"
ATTEMPTS = "INSERT INTO attempts (job_id, stage, started_at, duration_ms, request_id)"
Run = Callable[..., tuple[int, bytes, str]]


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def environment(stack: Stack, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    services = stack.environment() | {"PHOTABATCH_DATABASE_URL": database_url}
    for name, value in services.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield services
    get_settings.cache_clear()


@pytest.fixture
def storage(environment: dict[str, str]) -> Iterator[Storage]:
    storage = Storage(endpoint_url=environment["PHOTABATCH_S3_ENDPOINT_URL"])
    yield storage
    storage.close()


@pytest.fixture
def run(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
    tmp_path: Path,
) -> Run:
    """Run `photabatch results …` in an empty folder: its exit code, what it printed, what it told people."""
    monkeypatch.chdir(tmp_path)

    def once(*words: str) -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "argv", ["photabatch", "results", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsysbinary.readouterr()
        return int(ended.value.code or 0), told.out, told.err.decode()

    return once


def ids_of(engine: Engine, *custom_ids: str) -> list[uuid.UUID]:
    """A batch of queued jobs of these names; their ids."""
    with engine.begin() as connection:
        batch = open_batch(connection, "trip")
        return [job.id for job in insert(connection, [photo(name) for name in custom_ids], batch=batch)]


def finish(engine: Engine, storage: Storage, job_id: uuid.UUID, data: bytes) -> str:
    """With `data` as its output; the key that it lies under."""
    key = f"{uuid.uuid4()}/x-0.jpg"
    storage.put(BUCKET, key, data, content_type="image/jpeg", sha256_hex=sha256_of(data))
    succeed(engine, job_id, key=key, data=data, sha256=sha256_of(data))
    return key


def skip(engine: Engine, job_id: uuid.UUID, *, same_as: uuid.UUID) -> None:
    statement = "UPDATE jobs SET state = 'skipped', due_at = NULL, finished_at = now(), same_as = :same WHERE id = :id"
    with engine.begin() as connection:
        connection.execute(text(statement), {"id": job_id, "same": same_as})


def damage(environment: dict[str, str], key: str, data: bytes | None) -> None:
    """Behind our back: other bytes, or none."""
    s3 = boto3.client("s3", endpoint_url=environment["PHOTABATCH_S3_ENDPOINT_URL"])
    if data is None:
        s3.delete_object(Bucket=BUCKET, Key=key)
    else:
        s3.put_object(Bucket=BUCKET, Key=key, Body=data)


def sums(archive: zipfile.ZipFile) -> dict[str, str]:
    assert archive.testzip() is None
    return {name: sha256_of(archive.read(name)) for name in archive.namelist()[:-2]}


def in_csv(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


@pytest.fixture
def trip(engine: Engine, storage: Storage) -> dict[str, bytes]:
    """Three pictures and what they hold, a failure, one that is skipped, and one that is not finished."""
    pictures = {"a/1.jpg": b"one", "a/ü 2.heic": b"two" * 600_000, "A/1.jpg": b"three"}
    jobs = ids_of(engine, *pictures, "bad.jpg", "again.jpg", "late.jpg")
    for job_id, data in zip(jobs, pictures.values(), strict=False):
        finish(engine, storage, job_id, data)
    fail(engine, jobs[3])
    skip(engine, jobs[4], same_as=jobs[0])
    clash = f"A/1-{jobs[2].hex[-8:]}.jpg"
    return {"a/1.jpg": b"one", "a/ü 2.heic.jpg": b"two" * 600_000, clash: b"three", "again.jpg": b"one"}


def test_a_zip_holds_every_picture_under_its_photos_name(run: Run, trip: dict[str, bytes], tmp_path: Path) -> None:
    code, printed, told = run("--zip", "trip.zip")
    assert (code, printed) == (0, b""), told
    assert "4 pictures in trip.zip" in told
    assert "1 of 6 jobs are not finished yet" in told
    with zipfile.ZipFile(tmp_path / "trip.zip") as archive:
        assert sums(archive) == {name: sha256_of(data) for name, data in trip.items()}
    assert [path.name for path in tmp_path.iterdir()] == ["trip.zip"]


def test_its_last_two_files_tell_of_the_others(run: Run, trip: dict[str, bytes], tmp_path: Path) -> None:
    run("--zip", "trip.zip")
    with zipfile.ZipFile(tmp_path / "trip.zip") as archive:
        lines = [json.loads(line) for line in archive.read("results.jsonl").splitlines()]
        report = in_csv(archive.read("report.csv"))
        assert archive.namelist()[-2:] == ["results.jsonl", "report.csv"]
    outputs = [output for line in lines if "response" in line for output in line["response"]["outputs"]]
    assert {output["file"]: output["sha256"] for output in outputs} == {n: sha256_of(d) for n, d in trip.items()}
    assert [line["error"]["code"] for line in lines if "error" in line] == ["moderation_blocked"]
    states = ["succeeded"] * 3 + ["failed", "skipped", "queued"]
    assert [job["state"] for job in report] == states


def test_a_zip_goes_down_a_pipe(run: Run, trip: dict[str, bytes]) -> None:
    code, printed, told = run("--zip", "-")
    assert code == 0, told
    with zipfile.ZipFile(io.BytesIO(printed)) as archive:
        assert sums(archive) == {name: sha256_of(data) for name, data in trip.items()}
        assert {entry.flag_bits & 0x08 for entry in archive.infolist()} == {0x08}  # sizes come after the bytes


@pytest.mark.parametrize(("data", "told_of"), [(None, "NoSuchKey"), (b"other", "holds other bytes by now")])
def test_no_zip_is_made_where_an_object_is_lost(
    run: Run,
    engine: Engine,
    storage: Storage,
    environment: dict[str, str],
    tmp_path: Path,
    data: bytes | None,
    told_of: str,
) -> None:
    first, second = ids_of(engine, "1.jpg", "2.jpg")
    finish(engine, storage, first, b"first")
    key = finish(engine, storage, second, b"second")
    damage(environment, key, data)
    code, _, told = run("--zip", "trip.zip")
    assert code == 3
    assert all(words in told for words in (key, told_of, "No zip was made", "--to DIR")), told
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(run("--zip", "-")[1]))


def test_a_folder_gets_all_but_what_is_lost(
    run: Run, engine: Engine, storage: Storage, environment: dict[str, str], tmp_path: Path
) -> None:
    jobs = ids_of(engine, *(f"{number}.jpg" for number in range(40)))
    keys = [finish(engine, storage, job_id, str(number).encode()) for number, job_id in enumerate(jobs)]
    damage(environment, keys[0], None)
    damage(environment, keys[1], b"other")
    code, _, told = run("--to", "out")
    assert (code, "2 outputs are lost" in told) == (3, True), told
    there = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert there == {f"{number}.jpg": str(number).encode() for number in range(2, 40)}


def test_clashing_names_and_changed_files_overwrite_nothing(
    run: Run, engine: Engine, storage: Storage, tmp_path: Path
) -> None:
    names = [name for number in range(20) for name in (f"{number}.jpg", str(number), f"{number}.jpg/x")]
    jobs = ids_of(engine, *names)
    for name, job_id in zip(names, jobs, strict=True):
        finish(engine, storage, job_id, name.encode())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "7.jpg").write_bytes(b"mine")
    for _ in range(2):
        assert "60 files in out" in run("--to", "out")[2]
    there = sorted(path.read_bytes().decode() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert there == sorted([*names, "mine"])


def test_a_report_tells_of_every_job(run: Run, trip: dict[str, bytes], engine: Engine, tmp_path: Path) -> None:
    ids = job_ids(engine)
    attempts = text(f"{ATTEMPTS} VALUES (:id, 'submit', now(), 1, :request_id)")
    with engine.begin() as connection:
        for request_id in ("req_1", "req_2", None):
            connection.execute(attempts, {"id": ids[0], "request_id": request_id})
    code, _, told = run("--report", "trip.csv")
    assert (code, "6 jobs in trip.csv" in told) == (0, True), told
    jobs = in_csv((tmp_path / "trip.csv").read_bytes())
    assert [job["id"] for job in jobs] == [str(each) for each in ids]
    assert [job["request_id"] for job in jobs] == ["req_2", "", "", "", "", ""]
    assert [job["cost_usd"] for job in jobs] == ["0.12", "0.12", "0.12", "", "0.0", ""]
    assert [job["same_as"] for job in jobs] == ["", "", "", "", str(ids[0]), ""]
    assert jobs[4]["outputs"] == jobs[0]["outputs"] != ""
    assert (jobs[3]["error_code"], jobs[3]["error_message"]) == ("moderation_blocked", "no")
    assert jobs[0]["source"] == "s3://photos/1.jpg"


def job_ids(engine: Engine) -> list[uuid.UUID]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT id FROM jobs ORDER BY id")).scalars())


def test_reports_of_both_forms_tell_the_same(run: Run, trip: dict[str, bytes], tmp_path: Path) -> None:
    assert run("--report", "trip.jsonl", "--zip", "trip.zip", "--to", "out", "--jsonl", "lines.jsonl")[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "trip.jsonl").read_text().splitlines()]
    jobs = in_csv(run("--report", "-")[1])
    assert [line["id"] for line in lines] == [job["id"] for job in jobs]
    assert [" ".join(line["outputs"]) for line in lines] == [job["outputs"] for job in jobs]
    assert {path.name for path in tmp_path.iterdir()} == {"trip.jsonl", "trip.zip", "out", "lines.jsonl"}
    assert (tmp_path / "lines.jsonl").read_bytes() == run()[1] == run("--jsonl", "-")[1]


def test_a_retried_job_is_told_of_once(run: Run, engine: Engine) -> None:
    old, new = ids_of(engine, "1.jpg", "2.jpg")
    fail(engine, old)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET superseded_at = now() WHERE id = :id"), {"id": old})
        values = {"old": old, "id": new}
        connection.execute(text("UPDATE jobs SET retry_of = :old, generation = 2 WHERE id = :id"), values)
    jobs = in_csv(run("--report", "-")[1])
    assert [(job["id"], job["generation"]) for job in jobs] == [(str(new), "2")]


def test_more_than_a_page_is_all_there_once(run: Run, engine: Engine) -> None:
    add_batch(engine, 1_201)
    assert [job["custom_id"] for job in in_csv(run("--report", "-")[1])] == [str(number) for number in range(1_201)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--report", "trip.xlsx"], "must end in .csv or .jsonl"),
        (["--report", "-", "--zip", "-"], "Only one of"),
        (["--zip", "nowhere/trip.zip"], "No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_said(run: Run, engine: Engine, words: list[str], message: str) -> None:
    add_batch(engine)
    code, _, told = run(*words)
    assert (code, message in told) == (2, True), told


def test_a_batch_without_results_makes_a_zip_that_says_so(run: Run, engine: Engine, tmp_path: Path) -> None:
    add_batch(engine)
    assert run("--zip", "empty.zip")[0] == 0
    with zipfile.ZipFile(tmp_path / "empty.zip") as archive:
        assert archive.namelist() == ["results.jsonl", "report.csv"]
        assert archive.read("results.jsonl") == b""


def test_a_zip_that_is_not_read_to_its_end_is_none(engine: Engine, storage: Storage, trip: dict[str, bytes]) -> None:
    with engine.connect() as connection:
        batch_id: Any = connection.execute(text("SELECT id FROM batches")).scalar_one()
    file = io.BytesIO()
    writing = iter(zips.zip_results(engine, storage, batch_id, file))
    assert next(writing) == "a/1.jpg"
    writing.close()  # type: ignore[attr-defined]
    assert b"one" in file.getvalue()
    assert not zipfile.is_zipfile(file)


def test_a_report_is_read_through_its_indexes(engine: Engine) -> None:
    batch = add_batch(engine, 3000)
    with engine.begin() as connection:
        rows = "SELECT id, 'submit', now(), 1, 'req' FROM jobs CROSS JOIN generate_series(1, 3)"
        connection.execute(text(f"{ATTEMPTS} {rows}"))
        connection.execute(text("ANALYZE jobs, attempts"))
        values = {"batch_id": batch.id, "after": uuid.UUID(int=0), "limit": 500}
        plan = "\n".join(connection.execute(text(f"EXPLAIN {reports._JOBS.text}"), values).scalars())
    assert "ix_attempts_job_id" in plan
    assert "Seq Scan" not in plan
