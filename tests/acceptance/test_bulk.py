"""Bulk work from the command line: planned, run, killed and run again, from folders, buckets and manifests."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, text

from models.engine import new_engine
from sandbox.stack import Stack
from tests.acceptance.conftest import QUICK, Fleet, bare_fleet, eventually, storage_of
from tests.acceptance.small_photos import write_photos
from tests.databases import Databases


class Hall(NamedTuple):
    """A fleet that all tests here share; charges are those since the test began."""

    fleet: Fleet
    engine: Engine
    charged_before: int = 0

    def charges(self) -> int:
        return int(self.fleet.ledger()["totals"]["charges"]) - self.charged_before


@pytest.fixture(scope="module")
def open_hall(stack: Stack, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    database_url = databases.new()
    engine = new_engine(database_url)
    fleet = bare_fleet(stack, database_url, tmp_path_factory.mktemp("hall"), *QUICK)
    fleet.start()
    yield Hall(fleet, engine)
    fleet.stop()
    engine.dispose()


@pytest.fixture
def hall(open_hall: Hall) -> Hall:
    open_hall.fleet.configure(faults=[], latency="0.2")
    with open_hall.engine.begin() as connection:  # what one test has done, another has not
        connection.execute(text("UPDATE jobs SET content_key = NULL"))
    return open_hall._replace(charged_before=open_hall.charges())


def rows(hall: Hall, statement: str) -> list[Any]:
    with hall.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def test_a_plan_tells_every_kind_and_touches_nothing(hall: Hall, tmp_path: Path) -> None:
    first, second, third = write_photos(tmp_path / "trip", 3)
    second.write_bytes(first.read_bytes())
    third.write_bytes(third.read_bytes()[:200])
    before = rows(hall, "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM batches)")
    done = hall.fleet.command("plan", str(tmp_path / "trip"), "--op", "enhance", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["kind"] for line in lines[:-1]] == ["ready", "duplicate", "corrupt"]
    assert lines[-1]["summary"]["jobs"] == 1
    assert lines[-1]["summary"]["cost_usd"] == {"low": 0.12, "high": 0.12}
    assert (done.returncode, hall.charges()) == (0, 0)
    assert rows(hall, "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM batches)") == before


def test_the_same_content_is_never_paid_twice_whatever_it_is_called(hall: Hall, tmp_path: Path) -> None:
    folder = tmp_path / "trip"
    photos = write_photos(folder, 8)
    (folder / "copy.jpg").write_bytes(photos[0].read_bytes())
    first = hall.fleet.batch("run", str(folder), "--op", "enhance", "--out", str(tmp_path / "out"))
    assert (first["counts"]["succeeded"], first["counts"]["skipped"], hall.charges()) == (8, 1, 8)
    folder.rename(tmp_path / "renamed")
    write_photos(tmp_path / "renamed", 1, first=100)
    out = tmp_path / "again"
    second = hall.fleet.batch("run", str(tmp_path / "renamed"), "--op", "enhance", "--out", str(out))
    assert (second["status"], second["counts"]["skipped"], hall.charges()) == ("completed", 9, 9)
    assert len(list(out.rglob("*.jpg"))) == 10
    redo = hall.fleet.batch("run", str(tmp_path / "renamed"), "--op", "enhance", "--redo")
    assert (redo["counts"]["succeeded"], redo["counts"]["skipped"], hall.charges()) == (9, 1, 18)


def killed_at(hall: Hall, words: list[str], jobs: int) -> None:
    """A run that is killed when it has queued so many jobs."""
    fleet, before = hall.fleet, rows(hall, "SELECT count(*) FROM jobs")[0][0]
    argv = [sys.executable, "-P", "-m", "cli.main", *words]
    env = {**os.environ, **fleet.environment}
    child = subprocess.Popen(argv, env=env, cwd=fleet.home, stderr=subprocess.DEVNULL, start_new_session=True)
    assert eventually(lambda: rows(hall, "SELECT count(*) FROM jobs")[0][0] >= before + jobs, within_s=60)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def test_a_run_killed_at_a_third_and_half_renamed_goes_on(hall: Hall, tmp_path: Path) -> None:
    folder = tmp_path / "trip"
    photos = write_photos(folder, 150)
    run = ["run", str(folder), "--op", "enhance", "--out", str(tmp_path / "out")]
    killed_at(hall, run, 50)
    for path in photos[::2]:
        path.rename(path.with_name(f"renamed {path.name}"))
    done = hall.fleet.command(*run, "--json")
    assert "Going on with trip" in done.stderr, done.stderr
    batch = json.loads(done.stdout)
    assert (done.returncode, batch["status"]) == (0, "completed")
    requests = Counter(charge["client_request_id"] for charge in hall.fleet.ledger()["charges"][hall.charged_before :])
    assert (hall.charges(), set(requests.values())) == (150, {1})
    contents = rows(hall, "SELECT content_key FROM jobs WHERE state = 'succeeded' AND content_key IS NOT NULL")
    assert len(contents) == len(set(contents)) == 150


def test_a_prefix_of_a_bucket(hall: Hall, tmp_path: Path) -> None:
    bucket = hall.fleet.environment["PHOTABATCH_S3_BUCKET"]
    for path in write_photos(tmp_path, 5):
        storage_of(hall.fleet).upload_file(bucket, f"in/{path.parent.name}/{path.name}", path, "image/jpeg")
    run = ["run", f"s3://{bucket}/in/", "--op", "enhance", "--exclude", "00004.jpg", "--out", f"s3://{bucket}/done/"]
    batch = hall.fleet.batch(*run)
    assert (batch["status"], batch["counts"]["total"], hall.charges()) == ("completed", 4, 4)
    keys = {info.key.split("/", 2)[2] for info in storage_of(hall.fleet).list(bucket, "done/")}
    assert keys == {f"roll {n}/0000{n}.jpg-0.jpg" for n in range(4)}
    again = hall.fleet.command(*run, "--json")
    assert json.loads(again.stdout)["counts"]["skipped"] == 4
    assert "Results of 4 jobs lie where an earlier run put them" in " ".join(again.stderr.split())


def test_manifests_in_every_form(hall: Hall, tmp_path: Path) -> None:
    lines = [
        {"custom_id": "a", "operation": "generate", "params": {"prompt": "a boat"}},
        {"custom_id": "b", "method": "POST", "url": "/v1/phota/generate", "body": {"prompt": "a boat"}},
    ]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    batch = hall.fleet.batch("run", str(tmp_path / "jobs.jsonl"), "--out", str(tmp_path / "out"))
    assert (batch["status"], sorted(path.name for path in (tmp_path / "out").iterdir())) == (
        "completed",
        ["a.jpg", "b.jpg"],
    )
    with (tmp_path / "jobs.csv").open("w") as file:
        csv.writer(file).writerows([["custom_id", "prompt"], ["c", "a house, red"], ["a", "a boat"]])
    words = [str(tmp_path / "jobs.csv"), "--op", "generate"]
    assert '"done_before": 1' in hall.fleet.command("plan", *words, "--json").stdout
    batch = hall.fleet.batch("run", *words)
    assert (batch["counts"]["succeeded"], batch["counts"]["skipped"], hall.charges()) == (1, 1, 3)


def test_every_bad_line_is_told_and_nothing_queued(hall: Hall, tmp_path: Path) -> None:
    good = {"custom_id": "good", "operation": "generate", "params": {"prompt": "x"}}
    bad = [{"operation": "generate"}, {"operation": "enhance", "params": {"image": "ftp://x/1.jpg"}}]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, [good, *bad, good])))
    batches = rows(hall, "SELECT count(*) FROM batches")
    done = hall.fleet.command("run", str(tmp_path / "jobs.jsonl"))
    assert (done.returncode, rows(hall, "SELECT count(*) FROM batches"), hall.charges()) == (2, batches, 0)
    assert "line 2: " in done.stderr
    assert "line 3: " in done.stderr
    batch = hall.fleet.batch("run", str(tmp_path / "jobs.jsonl"), "--skip-invalid")
    assert (batch["counts"]["succeeded"], batch["counts"]["total"]) == (1, 1)


def test_a_sample_goes_first_and_the_rest_when_it_is_told_to(hall: Hall, tmp_path: Path) -> None:
    write_photos(tmp_path / "trip", 12)
    run = ["run", str(tmp_path / "trip"), "--op", "enhance", "--sample", "3"]
    done = hall.fleet.command(*run)
    assert (done.returncode, hall.charges()) == (0, 3)
    assert "Sample: 3 succeeded, 0 failed, $0.36 spent" in done.stderr
    assert "The other 9 would cost about $1.08" in done.stderr
    sheet = hall.fleet.home / done.stderr.split("before and after: ")[1].split("\n")[0]
    assert "<html" in sheet.read_text()
    names = rows(hall, "SELECT custom_id FROM jobs ORDER BY id DESC LIMIT 3")
    assert sorted(names) == [("roll 0/00000.jpg",), ("roll 2/00002.jpg",), ("roll 6/00006.jpg",)]
    done = hall.fleet.command(*run[:-2], "--json")
    assert json.loads(done.stdout)["counts"]["succeeded"] == 12
    assert hall.charges() == 12


def test_a_sample_that_failed_does_not_end_well(hall: Hall, tmp_path: Path) -> None:
    write_photos(tmp_path / "trip", 4)
    hall.fleet.configure(faults=[{"match": "job", "fault": "fail", "times": 1}])
    done = hall.fleet.command("run", str(tmp_path / "trip"), "--op", "enhance", "--sample", "2")
    assert "Sample: 1 succeeded, 1 failed" in done.stderr
    assert (done.returncode, hall.charges()) == (3, 1)


def test_failed_jobs_are_left_alone_until_they_are_asked_for(hall: Hall, tmp_path: Path) -> None:
    write_photos(tmp_path / "trip", 6)
    hall.fleet.configure(faults=[{"match": "job", "fault": "fail", "times": 2}])
    run = ["run", str(tmp_path / "trip"), "--op", "enhance", "--name", "trip"]
    first = hall.fleet.batch(*run)
    assert (first["counts"]["succeeded"], first["counts"]["failed"]) == (4, 2)
    again = hall.fleet.batch(*run, "--retry-failed")
    assert (again["id"], again["counts"]["succeeded"], again["status"]) == (first["id"], 6, "completed")


@pytest.mark.campaign
def test_sixty_four_workers_never_begin_a_job_beyond_the_budget(
    stack: Stack, database_url: str, engine: Engine, tmp_path: Path
) -> None:
    fleet = bare_fleet(stack, database_url, tmp_path, *QUICK)
    try:
        fleet.start(workers=4, PHOTABATCH_THREADS="16", PHOTABATCH_CHUNK="1", PHOTABATCH_CONCURRENCY="64")
        words = ["run", "--op", "generate", "--prompt", "a boat", "--count", "250", "--budget", "9.00"]
        done = fleet.command(*words, "--json")
        batch = json.loads(done.stdout)
        assert (done.returncode, batch["paused_reason"], batch["counts"]["succeeded"]) == (8, "budget", 100)
        assert batch["cost_usd"]["spent"] == pytest.approx(9.00)
        assert fleet.ledger()["totals"]["charges"] == 100
    finally:
        fleet.stop()


def test_results_in_the_source_are_not_worked_on_again(hall: Hall, tmp_path: Path) -> None:
    bucket = hall.fleet.environment["PHOTABATCH_S3_BUCKET"]
    (path,) = write_photos(tmp_path, 1, first=7)
    storage_of(hall.fleet).upload_file(bucket, "whole/1.jpg", path, "image/jpeg")
    first = ["run", f"s3://{bucket}/whole/1.jpg", "--op", "enhance", "--out", f"s3://{bucket}/whole/done/"]
    assert hall.fleet.command(*first).returncode == 0
    assert len(list(storage_of(hall.fleet).list(bucket, "whole/"))) == 2
    again = hall.fleet.command("run", f"s3://{bucket}/whole/", "--op", "enhance", "--json")
    assert "1 objects are results of photabatch: passed over" in again.stderr, again.stderr
    assert (json.loads(again.stdout)["counts"]["skipped"], hall.charges()) == (1, 1)


@pytest.mark.parametrize(
    "words",
    [
        ["trigger", "add", "x", "s3://not-there-at-all/in/", "--op", "enhance"],
        ["run", "--op", "generate", "--prompt", "x", "--out", "s3://not-there-at-all/out/"],
        ["events", "--sqs", "nope"],
    ],
)
def test_what_is_not_there_is_a_fault_of_the_command(hall: Hall, words: list[str]) -> None:
    done = hall.fleet.command(*words)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "no such bucket" in done.stderr or "must be like https://" in done.stderr
