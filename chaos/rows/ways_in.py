"""Producers killed between two effects: messages, HTTP, runs of photos, schedules, uploads. Each job is there, once."""

import contextlib
import hashlib
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote_plus

import httpx
from celery import Celery
from PIL import Image
from sqlalchemy import Connection, text

from chaos.campaign import Run, row
from chaos.rows.points import end_all
from chaos.steps import Steps, watched
from chaos.world import BUCKET, wait_for
from clients.phota_requests import Operation
from clients.s3_uri import S3Uri
from producer.batches import close_batch, join_batch
from producer.ownership import OPERATOR, Owner
from producer.recipes import Recipe
from producer.schedules.definitions import NewSchedule, add_schedule, run_now
from producer.uploads.trigger_rules import EVER
from producer.uploads.triggers import NewTrigger, add_trigger
from worker.app import VISIBILITY_S

_OWNER = Owner(OPERATOR, BUCKET)
_GROUP = 32  # photos of a run that are queued together
_ENHANCE = Recipe(Operation.ENHANCE, {})


@row("2c", "killed at each fail point of the ways in", short=(24, 2), long=(600, 30))
def at_producer_points(run: Run) -> None:
    """Two of five ways, by the seed, or each of them several times."""
    jobs = run.size.jobs // run.size.rounds
    ways = run.chance.sample(list(_WAYS), len(_WAYS))
    with watched(run) as steps:
        for number in range(run.size.rounds):
            way = ways[number % len(ways)]
            _WAYS[way](run, steps, f"{run.load.prefix}{number}-{way}", jobs)
            run.world.keep_up()
            run.recover()


def _by_message(run: Run, _steps: Steps, name: str, jobs: int) -> None:
    """The message of a killed worker is delivered again once its visibility timeout is over; here as if it were."""
    world = run.world
    end_all(run, "worker")
    with Celery("producer", broker=world.services["PHOTABATCH_BROKER_URL"]).connection_for_write() as broker:
        app = Celery("producer", broker=world.services["PHOTABATCH_BROKER_URL"])
        for number in range(jobs):
            fields = {"prompt": f"boat {number}", "custom_id": str(number), "batch": name}
            app.send_task("photabatch.generate", kwargs=fields, queue="intake", connection=broker)
    run.load.accepted += jobs
    _die(run, "worker", "after_intake", passage=jobs // 2)
    world.keep_up()

    def is_taken() -> bool:
        for tag, _ in world.redis.zscan_iter("unacked_index"):
            world.redis.zincrby("unacked_index", -VISIBILITY_S, tag)
        return not world.redis.llen("intake") and not world.redis.hlen("unacked")

    wait_for(is_taken, every_s=1.0, at_most_s=120)
    with world.engine.begin() as connection:
        close_batch(connection, join_batch(connection, name))


def _over_http(run: Run, _steps: Steps, name: str, jobs: int) -> None:
    """The second request of each life is cut; whoever sent it sends it again, with its key."""
    for point in ("in_once", "before_answer"):
        with _doomed_api(run, point) as is_hurt:
            before = run.world.api_url
            run.world.api_url = is_hurt.url
            try:
                for number in range(2):
                    run.load.add_over_http(jobs // 4 + 1, key=f"{name}-{point}-{number}")
            finally:
                run.world.api_url = before
            is_hurt.check()


class _Api:
    def __init__(self, run: Run, name: str, url: str) -> None:
        self._child, self.url = run.world.child(name), url

    def check(self) -> None:
        if not self._child.restarts:
            raise AssertionError("the API did not die")


@contextlib.contextmanager
def _doomed_api(run: Run, point: str) -> Iterator[_Api]:
    """Beside the good one; it is started again whenever it dies."""
    world = run.world
    port = world.stack.port(f"api-{point}", preferred=19950)
    name = world.start("api", "--port", str(port), PHOTABATCH_FAILPOINT=f"{point}:kill:2")
    run.inject(f"killed {point}")
    try:
        yield _Api(run, name, f"http://127.0.0.1:{port}")
    finally:
        world.stack.stop_children(name)
        world.forget(name)


def _by_run(run: Run, _steps: Steps, name: str, jobs: int) -> None:
    """Interrupted twice, then gone on with by the same command."""
    folder = Path(str(run.world.stack.home), name)
    folder.mkdir()
    photos = jobs + _GROUP
    for number in range(photos):
        mark = f"{name} {number}"
        Image.new("RGB", (96, 64), (number % 256, 0, 128)).save(folder / f"{number}.jpg", comment=mark.encode())
    words = (str(folder), "--op", "enhance", "--name", name, "--yes", "--detach")
    for point, passage in (("after_photo_put", 5), ("after_group", 1)):
        _die(run, "run", point, *words, passage=passage)
    good = run.world.start("run", *words)
    wait_for(lambda: not run.world.child(good).is_alive, at_most_s=120)
    if run.world.child(good).returncode:
        raise AssertionError(f"the run did not go on: {run.world.child(good).log_tail()}")
    run.world.forget(good)
    run.load.accepted += photos


def _by_schedule(run: Run, steps: Steps, name: str, jobs: int) -> None:
    """One listing that the dispatcher dies of, and then three workers."""
    world = run.world
    _put(run, name, jobs)
    wanted = NewSchedule(name, "0 0 1 1 *", "UTC", f"s3://{BUCKET}/{name}/", _ENHANCE)
    end_all(run, "dispatcher")
    end_all(run, "worker")
    with world.engine.begin() as connection:
        add_schedule(connection, _OWNER, wanted)
        run_now(connection, OPERATOR.id, name)
    _die(run, "dispatcher", "after_listings_due")
    for _ in range(2):
        world.start("dispatcher")
    for point in ("in_mark", "after_listed_group", "before_listing_end"):
        _hasten(run, steps)
        _die(run, "worker", point)
    _hasten(run, steps)
    world.keep_up()
    run.load.accepted += jobs
    wait_for(lambda: world.ask("SELECT NOT EXISTS (SELECT FROM schedule_runs WHERE state = 'listing')"), at_most_s=60)


def _by_upload(run: Run, steps: Steps, name: str, jobs: int) -> None:
    """Events that were not answered are told again; what no event tells of is found by a listing."""
    world = run.world
    wanted = NewTrigger(name, S3Uri(BUCKET, f"{name}/"), _ENHANCE, quiet_s=1.0, since=EVER, repair_s=86_400.0)
    with world.engine.begin() as connection:
        trigger = add_trigger(connection, _OWNER, wanted).trigger
        _look_at(connection, trigger.id, "tomorrow")  # not before the events
    records = _put(run, name, jobs)
    for point, told in (("in_mark", records[: jobs // 3]), ("after_arrivals", records[jobs // 3 : jobs // 3 * 2])):
        with _doomed_api(run, point) as is_hurt:
            for half in (told[:1], told[1:]):
                _tell(run, is_hurt.url, half)
            is_hurt.check()
    end_all(run, "worker")
    with world.engine.begin() as connection:
        _look_at(connection, trigger.id, "now")
    _die(run, "worker", "before_repair_end")
    _hasten(run, steps)
    world.keep_up()
    run.load.accepted += jobs


def _look_at(connection: Connection, trigger_id: uuid.UUID, moment: str) -> None:
    """When its bucket is listed next."""
    statement = text("UPDATE triggers SET due_at = CAST(:moment AS timestamptz) WHERE id = :id")
    connection.execute(statement, {"id": trigger_id, "moment": moment})


def _put(run: Run, name: str, count: int) -> list[dict[str, object]]:
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


def _die(run: Run, kind: str, point: str, *words: str, passage: int = 1) -> None:
    """Start a process and wait until it has died at the point. Raise AssertionError if it ended otherwise."""
    name = run.world.start(kind, *words, PHOTABATCH_FAILPOINT=f"{point}:kill:{passage}")
    child = run.world.child(name)
    began = time.monotonic()
    wait_for(lambda: not child.is_alive, at_most_s=120)
    run.world.forget(name)
    run.inject(f"killed {point}")
    if child.returncode != -9:
        raise AssertionError(f"{kind} did not die at {point} in {time.monotonic() - began:.0f} s: {child.log_tail()}")


def _hasten(run: Run, steps: Steps) -> None:
    """As if the leases of listings, or the time until a lost message is sent again, were over: after a kill."""
    steps.expire()
    with run.world.engine.begin() as connection:
        connection.execute(text("UPDATE schedule_runs SET claims = 0, due_at = now() WHERE state = 'listing'"))


_WAYS: dict[str, Callable[[Run, Steps, str, int], None]] = {
    "message": _by_message,
    "http": _over_http,
    "run": _by_run,
    "schedule": _by_schedule,
    "upload": _by_upload,
}
