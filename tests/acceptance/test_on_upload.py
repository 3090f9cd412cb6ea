"""On upload: commands as people type them, a real fleet; told by HTTP, by a queue, or not at all."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import Engine, text

from clients.s3_objects import JOB_MARK
from tests.acceptance.conftest import Fleet, eventually, states, storage_of

BUCKET = "on-upload"


def put(fleet: Fleet, key: str, photo: Path) -> dict[str, Any]:
    """The event of an upload, as S3 writes it."""
    data, storage = photo.read_bytes(), storage_of(fleet)
    storage.ensure_bucket(BUCKET)
    sha256 = hashlib.sha256(data).hexdigest()
    info = storage.put(BUCKET, key, data, content_type="image/jpeg", sha256_hex=sha256)
    thing = {"key": quote_plus(key, safe="/"), "eTag": info.etag.strip('"'), "size": info.size}
    return {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": BUCKET}, "object": thing}}


def add_trigger(fleet: Fleet, *options: str) -> None:
    storage_of(fleet).ensure_bucket(BUCKET)
    done = fleet.command("trigger", "add", "drop", f"s3://{BUCKET}/{fleet.home.name}/in/", "--op", "enhance", *options)
    assert done.returncode == 0, done.stderr


def listed(fleet: Fleet) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(fleet.command("trigger", "list", "--json").stdout)
    return answer


def outputs(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return [(row.bucket, row.key) for row in connection.execute(text("SELECT bucket, key FROM outputs"))]


@contextmanager
def running(fleet: Fleet, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command in the foreground; whoever uses it ends it."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cli.main", *words],
        env={**os.environ, **fleet.environment},
        cwd=fleet.home,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def stopped(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    return process.returncode, said


def test_an_upload_is_enhanced_and_its_result_is_no_upload(idle_fleet: Fleet, engine: Engine, samples: Path) -> None:
    fleet = idle_fleet
    key = fleet.command("key", "create").stdout.strip()
    api = fleet.start_api()
    fleet.start()
    add_trigger(fleet, "--quiet", "1")
    record = put(fleet, f"{fleet.home.name}/in/my photo (1).jpg", min(samples.iterdir()))
    posted = httpx.post(f"{api}/v1/events/s3", json={"Records": [record]}, auth=("s3", key), trust_env=False)
    assert posted.json() == {"accepted": 1, "known": 0, "ignored": 0}
    assert eventually(lambda: states(engine) == {"succeeded": 1})
    [(bucket, output)] = outputs(engine)
    info = storage_of(fleet).head(bucket, output)
    assert info is not None
    assert JOB_MARK in info.metadata
    assert eventually(lambda: listed(fleet)["made"]["done"] == 1)


def test_a_listing_finds_what_nobody_told_of(fleet: Fleet, engine: Engine, samples: Path) -> None:
    for number, photo in enumerate(sorted(samples.iterdir())[:3]):
        put(fleet, f"{fleet.home.name}/in/{number}.jpg", photo)
    add_trigger(fleet, "--since", "all", "--repair-every", "1")
    assert eventually(lambda: states(engine) == {"succeeded": 3})
    repaired_at = listed(fleet)["repaired_at"]
    assert eventually(lambda: listed(fleet)["repaired_at"] > repaired_at), "again and again"
    assert states(engine) == {"succeeded": 3}
    assert fleet.command("trigger", "remove", "drop").returncode == 0
    assert fleet.command("trigger", "list", "--json").stdout == ""


def test_a_loop_is_a_fault_of_use(fleet: Fleet) -> None:
    storage_of(fleet).ensure_bucket(BUCKET)
    source = f"s3://{BUCKET}/{fleet.home.name}/"
    done = fleet.command("trigger", "add", "drop", source, "--op", "enhance", "--out", f"{source}done/")
    assert done.returncode == 2
    assert "would be uploads again" in done.stderr


@pytest.fixture
def queue() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "sqs",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    yield client.create_queue(QueueName="uploads")["QueueUrl"]
    client.close()
    server.stop()


def test_events_of_a_queue_are_worked_on_until_it_is_stopped(
    fleet: Fleet, engine: Engine, samples: Path, queue: str
) -> None:
    add_trigger(fleet)
    endpoint = queue.split("/", 3)
    client = boto3.client(
        "sqs",
        endpoint_url="/".join(endpoint[:3]),
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    for number, photo in enumerate(sorted(samples.iterdir())[:3]):
        record = put(fleet, f"{fleet.home.name}/in/{number}.jpg", photo)
        client.send_message(QueueUrl=queue, MessageBody=json.dumps({"Records": [record]}))
    with running(fleet, "events", "--sqs", queue) as process:
        assert eventually(lambda: states(engine) == {"succeeded": 3})
        assert stopped(process)[0] == 0
    told = client.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert (told["ApproximateNumberOfMessages"], told["ApproximateNumberOfMessagesNotVisible"]) == ("0", "0")


def test_a_queue_that_is_not_there_ends_it_at_once(fleet: Fleet, queue: str) -> None:
    done = fleet.command("events", "--sqs", f"{queue}-not")
    assert done.returncode == 7, done.stderr


def test_a_watched_folder_brings_results_and_goes_on_after_a_restart(
    fleet: Fleet, engine: Engine, samples: Path
) -> None:
    folder, out, photos = fleet.home / "drop", fleet.home / "finished", sorted(samples.iterdir())
    folder.mkdir()
    words = ("watch-folder", str(folder), "--op", "enhance", "--out", str(out), "--settle", "0.5", "--quiet", "1")
    with running(fleet, *words) as process:
        (folder / "a").mkdir()
        with (folder / "a/1.jpg").open("wb") as half:
            half.write(photos[0].read_bytes()[:1000])
            half.flush()
            time.sleep(1.5)  # more than it takes a whole one to be taken
            half.write(photos[0].read_bytes()[1000:])
        assert eventually((out / "a/1.jpg").exists)
        code, said = stopped(process)
    assert code == 0, said
    assert "a/1.jpg: queued" in said
    (folder / "2.jpg").write_bytes(photos[1].read_bytes())
    with running(fleet, *words) as process:
        assert eventually((out / "2.jpg").exists)
        assert stopped(process)[0] == 0
    assert states(engine) == {"succeeded": 2}


def test_results_may_not_go_where_photos_are_watched(fleet: Fleet) -> None:
    (fleet.home / "drop").mkdir()
    for out in ("drop", "drop/out", "."):
        done = fleet.command("watch-folder", "drop", "--op", "enhance", "--out", out)
        assert done.returncode == 2, out
