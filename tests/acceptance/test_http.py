"""The whole way over HTTP, with the client that ships: photos in, told by callback and webhook, pictures out."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from sqlalchemy import Engine, text

from api.keys import create_key
from cli.receiver import Receiver
from models.accounts import find_account
from models.engine import new_engine
from models.states import Scope
from photabatch import AsyncClient, Client, NotFound
from sandbox.stack import Stack
from tests.acceptance.conftest import Fleet, bare_fleet, eventually
from tests.databases import Databases


class Desk(NamedTuple):
    client: Client
    fleet: Fleet
    engine: Engine
    charged_before: int = 0

    def charges(self) -> int:
        return self.fleet.ledger()["totals"]["charges"] - self.charged_before


@pytest.fixture(scope="module")
def open_desk(stack: Stack, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One for all tests here: a fleet with its API, whose simulated Phota works on the pictures and calls back."""
    database_url = databases.new()
    engine = new_engine(database_url)
    fleet = bare_fleet(stack, database_url, tmp_path_factory.mktemp("desk"), "--latency", "0.3")
    url = fleet.start_api()
    fleet.start()
    with engine.begin() as connection:
        account = find_account(connection, "default")
        assert account is not None, "made by the first migration"
        key = create_key(connection, account, name="test", scopes=[Scope.READ, Scope.SUBMIT])
    with Client(url, key) as client:
        yield Desk(client, fleet, engine)
    fleet.stop()
    engine.dispose()


@pytest.fixture
def desk(open_desk: Desk) -> Desk:
    open_desk.fleet.configure(faults=[], latency="0.3")
    return open_desk._replace(charged_before=open_desk.charges())


def pictures(count: int) -> list[dict[str, Any]]:
    return [
        {"operation": "generate", "params": {"prompt": f"a boat, no. {number}"}, "custom_id": str(number)}
        for number in range(count)
    ]


def test_a_folder_goes_in_and_finished_photos_come_out(desk: Desk, samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trip"
    folder.mkdir()
    for photo in samples.iterdir():
        (folder / photo.name).write_bytes(photo.read_bytes())
    (folder / "broken.jpg").write_bytes(b"no picture")
    trip = desk.client.submit_folder(folder, "enhance", budget_usd=5)
    batch = desk.client.wait(trip.batch, timeout=60)
    files = desk.client.download(batch, tmp_path / "done")
    assert [Path(each.path).name for each in trip.refused] == ["broken.jpg"]
    assert (batch.status, batch.counts.succeeded, desk.charges()) == ("completed", 6, 6)
    sums = {output.sha256 for result in desk.client.results(batch) for output in result.outputs}
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == sums
    for path in files:
        Image.open(path).load()


def test_a_folder_that_is_sent_again_costs_what_is_new_in_it(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    folder.mkdir()
    first = _paint(folder / "1.jpg", "teal")
    killed = desk.client.submit_folder(folder, "enhance")  # and nobody waits for it
    second = _paint(folder / "2.jpg", "olive")
    _paint(folder / "3.jpg", "teal")
    batch = desk.client.wait(desk.client.submit_folder(folder, "enhance").batch, timeout=60)
    assert (batch.status, batch.counts.succeeded + batch.counts.skipped) == ("completed", 3)
    files = {path.name: path for path in desk.client.download(batch, tmp_path / "done")}
    assert desk.client.wait(killed.batch, timeout=60).status == "completed"
    assert desk.charges() == 2
    assert len(files) == 3
    assert first == _paint(folder / "3.jpg", "teal") != second


def _paint(path: Path, colour: str) -> bytes:
    Image.new("RGB", (1200, 900), colour).save(path)
    return path.read_bytes()


def test_progress_is_told_until_the_end(desk: Desk) -> None:
    batch = desk.client.submit_batch(pictures(5))
    looks = list(desk.client.events(batch))
    assert looks[-1].status == "completed"
    finished = [look.counts.finished for look in looks]
    assert finished == sorted(finished)
    assert all(look.counts.total == 5 for look in looks)


def test_what_is_sent_twice_is_queued_once(desk: Desk) -> None:
    first = desk.client.submit_batch(pictures(5), name="boats", idempotency_key="boats-1")
    again = desk.client.submit_batch(pictures(5), name="boats", idempotency_key="boats-1")
    assert again.id == first.id
    assert desk.client.wait(first, timeout=60).counts.succeeded == 5
    assert desk.charges() == 5


def test_pause_resume_and_retry_over_http(desk: Desk) -> None:
    desk.fleet.configure(faults=[{"match": "job", "fault": "fail", "times": 2, "code": "MODEL_OVERLOADED"}])
    batch = desk.client.submit_batch(pictures(6))
    assert desk.client.pause(batch).status == "paused"
    desk.client.resume(batch)
    ended = desk.client.wait(batch, timeout=60)
    assert (ended.status, ended.counts.failed) == ("completed_with_errors", 2)
    assert desk.client.retry(batch).retried == 2
    assert desk.client.wait(batch, timeout=60).status == "completed"
    assert desk.charges() == 6


def test_accounts_see_nothing_of_each_other(desk: Desk) -> None:
    batch = desk.client.submit_batch(pictures(1))
    desk.client.wait(batch, timeout=60)
    assert desk.fleet.command("account", "add", "studio").returncode == 0
    key = desk.fleet.command("key", "create", "--account", "studio").stdout.strip()

    async def look() -> list[str]:
        async with AsyncClient(desk.fleet.environment["PHOTABATCH_PUBLIC_URL"], key) as other:
            with pytest.raises(NotFound):
                await other.batch(batch.id)
            return [str(each.id) async for each in other.batches()]

    assert asyncio.run(look()) == []


def test_a_callback_wakes_a_job_that_nobody_would_look_at(desk: Desk) -> None:
    desk.fleet.configure(latency="3")
    job = desk.client.submit_job(pictures(1)[0])
    later = text("UPDATE jobs SET due_at = now() + interval '1 hour' WHERE state = 'running' AND hold = 'idle'")

    def postponed() -> bool:
        with desk.engine.begin() as connection:
            return connection.execute(later).rowcount == 1

    assert eventually(postponed)
    assert eventually(lambda: desk.client.job(job.id).state == "succeeded")


def test_the_end_of_a_batch_is_told_by_webhook(desk: Desk) -> None:
    with desk.engine.connect() as connection:
        secret = connection.scalar(text("SELECT webhook_secret FROM accounts WHERE name = 'default'"))
    with Receiver(str(secret)) as receiver:
        batch = desk.client.submit_batch(pictures(2), webhook_url=receiver.url)
        event = receiver.wait_for_end(30)
    assert event is not None
    assert (event["type"], event["data"]["id"]) == ("batch.completed", str(batch.id))
