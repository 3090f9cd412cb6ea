"""A schedule's run on real processes: typed as people type it, told by webhook."""

import json
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from tests.acceptance import test_webhooks as webhooks
from tests.acceptance.conftest import Fleet, eventually, storage_of
from tests.acceptance.test_webhooks import Listener

listener = webhooks.listener


def schedule(fleet: Fleet, *words: str) -> list[str]:
    done = fleet.command("schedule", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def upload(fleet: Fleet, photo: Path) -> None:
    storage, bucket = storage_of(fleet), fleet.environment["PHOTABATCH_S3_BUCKET"]
    storage.upload_file(bucket, f"in/{photo.name}", photo, "image/jpeg")


def ends(listener: Listener) -> list[dict[str, Any]]:
    return [event["data"] for _, event in listener.taken if event["type"] == "schedule.finished"]


def test_each_run_does_what_is_new_and_tells_of_it(
    fleet: Fleet, engine: Engine, listener: Listener, samples: Path
) -> None:
    with engine.connect() as connection:
        listener.secret = str(connection.scalar(text("SELECT webhook_secret FROM accounts WHERE name = 'default'")))
    *photos, late = sorted(samples.iterdir())
    for photo in photos:
        upload(fleet, photo)
    where = f"s3://{fleet.environment['PHOTABATCH_S3_BUCKET']}/in/"
    night = ("--cron", "0 22 * * *", "--tz", "Europe/Paris", "--op", "enhance", "--budget", "5")
    schedule(fleet, "add", "nightly", where, *night, "--webhook", listener.url)
    for count in (1, 2):
        schedule(fleet, "run", "nightly")
        assert eventually(lambda count=count: len(ends(listener)) == count)  # type: ignore[misc]
        upload(fleet, late)
    assert [(each["done"], each["failed"], each["ended_by"]) for each in ends(listener)] == [
        (len(photos), 0, "batch"),
        (1, 0, "batch"),
    ]
    [listed] = [json.loads(line) for line in schedule(fleet, "list", "--json")]
    assert listed["last_run"] == ends(listener)[1]
    assert fleet.ledger()["totals"]["charges"] == len(photos) + 1
    schedule(fleet, "remove", "nightly")
    assert schedule(fleet, "list", "--json") == []


def test_what_cannot_work_is_refused_with_the_usage_code(idle_fleet: Fleet) -> None:
    where = f"s3://{idle_fleet.environment['PHOTABATCH_S3_BUCKET']}/in/"
    for options in (
        ["--cron", "0 25 * * *"],
        ["--cron", "0 22 * * *", "--out", where],
        ["--cron", "0 1 * * *", "--tz", "X"],
    ):
        done = idle_fleet.command("schedule", "add", "nightly", where, "--op", "enhance", *options)
        assert done.returncode == 2, done.stderr
    assert idle_fleet.command("schedule", "run", "nightly").returncode == 2
