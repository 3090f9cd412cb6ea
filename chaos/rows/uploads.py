"""Uploads, told of by their sender, by a queue, by nobody, or put into a folder: whoever takes them is killed."""

import contextlib
import hashlib
import json
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
import httpx
from moto.server import ThreadedMotoServer
from PIL import Image
from sqlalchemy import Connection, text

from chaos.campaign import Run
from chaos.doom import die, doomed_api, hasten
from chaos.rows.points import end_all
from chaos.steps import Steps
from chaos.world import BUCKET, wait_for
from clients.phota_requests import Operation
from clients.s3_uri import S3Uri
from producer.ownership import OPERATOR, Owner
from producer.recipes import Recipe
from producer.uploads.trigger_rules import EVER
from producer.uploads.triggers import NewTrigger, add_trigger

OWNER = Owner(OPERATOR, BUCKET)
ENHANCE = Recipe(Operation.ENHANCE, {})
_VISIBLE_AGAIN_S = "2"  # a message that was received and not deleted; SQS itself: 30 s


def by_upload(run: Run, steps: Steps, name: str, jobs: int) -> None:
    """Events that were not answered are told again; what no event tells of is found by a listing."""
    world = run.world
    with world.engine.begin() as connection:
        trigger_id = _trigger(connection, name)
        _look_at(connection, trigger_id, "tomorrow")  # not before the events
    records = put_objects(run, name, jobs)
    for point, told in (("in_mark", records[: jobs // 3]), ("after_arrivals", records[jobs // 3 : jobs // 3 * 2])):
        with doomed_api(run, point) as is_hurt:
            for half in (told[:1], told[1:]):
                _tell(run, is_hurt.url, half)
            is_hurt.check()
    end_all(run, "worker")
    with world.engine.begin() as connection:
        _look_at(connection, trigger_id, "now")
    die(run, "worker", "before_repair_end")
    hasten(run, steps)
    world.keep_up()
    run.load.accepted += jobs


def by_queue(run: Run, _steps: Steps, name: str, jobs: int) -> None:
    """What was queued and not deleted comes again, and is known."""
    with _queue() as (sqs, url):
        with run.world.engine.begin() as connection:
            _look_at(connection, _trigger(connection, name), "tomorrow")
        for record in put_objects(run, name, jobs):
            sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"Records": [record]}))
        run.load.accepted += jobs
        die(run, "events", "before_delete", "--sqs", url, passage=run.chance.randrange(1, 3))
        good = run.world.start("events", "--sqs", url)
        wait_for(lambda: not _left(sqs, url), every_s=0.5, at_most_s=120)
        run.world.terminate(good)


@contextlib.contextmanager
def _queue() -> Iterator[tuple[Any, str]]:
    """A client of an SQS of our own, and the URL of an empty queue."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # or it tells of each request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        sqs = boto3.client("sqs", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        made = sqs.create_queue(QueueName=str(uuid.uuid4()), Attributes={"VisibilityTimeout": _VISIBLE_AGAIN_S})
        yield sqs, made["QueueUrl"]
        sqs.close()
    finally:
        server.stop()


def _left(sqs: Any, url: str) -> int:
    """Messages, those in hand too."""
    told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(told["ApproximateNumberOfMessages"]) + int(told["ApproximateNumberOfMessagesNotVisible"])


def by_folder(run: Run, _steps: Steps, name: str, jobs: int) -> None:
    """Killed when all results are in the folder and nothing says so; the next one fetches, and calls for nothing."""
    folder, out = (Path(str(run.world.stack.home), each) for each in (name, f"{name}-results"))
    write_photos(folder, name, range(jobs))
    words = (str(folder), "--op", "enhance", "--name", name, "--out", str(out), "--settle", "0.2", "--quiet", "1")
    die(run, "watch-folder", "after_fetch", *words)
    good = run.world.start("watch-folder", *words)
    write_photos(folder, name, range(jobs, jobs + 1))
    run.load.accepted += jobs + 1
    wait_for(lambda: len(list(out.glob("*.jpg"))) == jobs + 1, at_most_s=120)
    run.world.terminate(good)


def write_photos(folder: Path, name: str, numbers: range) -> None:
    """Small ones, each different."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        mark = f"{name} {number}"
        Image.new("RGB", (96, 64), (number % 256, 0, 128)).save(folder / f"{number}.jpg", comment=mark.encode())


def _trigger(connection: Connection, name: str) -> uuid.UUID:
    wanted = NewTrigger(name, S3Uri(BUCKET, f"{name}/"), ENHANCE, quiet_s=1.0, since=EVER, repair_s=86_400.0)
    return add_trigger(connection, OWNER, wanted).trigger.id


def _look_at(connection: Connection, trigger_id: uuid.UUID, moment: str) -> None:
    """When its bucket is listed next."""
    statement = text("UPDATE triggers SET due_at = CAST(:moment AS timestamptz) WHERE id = :id")
    connection.execute(statement, {"id": trigger_id, "moment": moment})


def put_objects(run: Run, name: str, count: int) -> list[dict[str, object]]:
    """Objects by somebody else; the records of S3's events about them."""
    records: list[dict[str, object]] = []
    for number in range(count):
        data, key = b"\xff\xd8\xff" + f"{name} {number}".encode(), f"{name}/{number}.jpg"
        sha256 = hashlib.sha256(data).hexdigest()
        info = run.world.storage.put(BUCKET, key, data, content_type="image/jpeg", sha256_hex=sha256)
        thing = {"key": quote_plus(key, safe="/"), "eTag": info.etag.strip('"'), "size": info.size}
        records.append({"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": BUCKET}, "object": thing}})
    return records


def _tell(run: Run, url: str, records: list[dict[str, object]]) -> None:
    """Until it is answered with 200, as S3 and its gateways do."""
    headers = {"Authorization": f"Bearer {run.world.api_key}"}

    def is_taken() -> bool:
        try:
            answer = httpx.post(f"{url}/v1/events/s3", json={"Records": records}, headers=headers, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    wait_for(is_taken, every_s=0.2, at_most_s=60)
