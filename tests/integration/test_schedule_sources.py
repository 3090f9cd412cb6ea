"""What a schedule finds in its source: names of every kind, photabatch's own objects, more than fits into the queue."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from clients.s3_objects import INPUT_MARK, JOB_MARK, ObjectInfo
from clients.storage import AccessDenied, StorageUnavailable
from producer.ownership import Owner
from sandbox.samples import write_samples
from tests.integration import nights as nights_fixtures
from tests.integration import uploads as uploads_fixtures
from tests.integration.api_fixtures import new_account
from tests.integration.nights import BUCKET, DAY, ENHANCE, NOON, TICK, Bucket, Nights, raising

s3, uploads, nights = uploads_fixtures.s3, uploads_fixtures.uploads, nights_fixtures.nights


class Keys(Bucket):
    """A bucket that lists these names."""

    def __init__(self, *names: str) -> None:
        super().__init__(0)
        self._names = names

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        for name in self._names:
            yield ObjectInfo(bucket, prefix + name, 5, f'"{name!r}"')


class Marked(Keys):
    """One that has an object at every key that it is asked for."""

    def head(self, bucket: str, key: str) -> ObjectInfo:
        return ObjectInfo(bucket, key, 5, '"0"')


def test_a_file_whose_name_is_no_unicode_is_taken_once(nights: Nights, tmp_path: Path) -> None:
    write_samples(tmp_path, 1)
    [photo] = tmp_path.iterdir()
    photo.rename(tmp_path / os.fsdecode(b"caf\xe9.jpg"))
    nights.add(source=str(tmp_path))
    assert nights.run(nights.night(TICK))["found"] == 1
    assert nights.run(nights.night(TICK + DAY))["found"] == 0


def test_an_object_whose_key_has_a_nul_holds_up_no_other(nights: Nights) -> None:
    nights.add()
    nights.night(TICK, Keys("a\0.jpg", "b\x01.jpg", "c.jpg"))
    rows = nights.rows("SELECT state, source ->> 'path' AS path FROM jobs ORDER BY state")
    assert [(row["state"], row["path"][-5:]) for row in rows] == [("queued", "c.jpg"), ("rejected", "\x01.jpg")]


def test_an_object_that_is_called_like_the_folder_hides_nothing(nights: Nights) -> None:
    nights.add(source=f"{nights.source}in")
    nights.night(TICK, Marked("", ".jpg", "/1.jpg"))
    assert nights.custom_ids() == ["in.jpg", "in/1.jpg"]


def test_results_and_stored_inputs_of_photabatch_are_no_photos(nights: Nights) -> None:
    nights.put("photo.jpg")
    for name, mark in (("result.jpg", JOB_MARK), ("input.jpg", INPUT_MARK)):
        nights.uploads.put(name, name.encode(), Metadata={mark: "1"})
    nights.add()
    run = nights.run(nights.night(TICK))
    assert (run["seen"], run["found"], nights.custom_ids()) == (3, 1, ["photo.jpg"])
    assert nights.column("SELECT count(*) FROM seen_objects") == [3], "not looked at again"


def test_where_there_are_only_results_a_night_has_nothing_new(nights: Nights) -> None:
    nights.uploads.put("result.jpg", Metadata={JOB_MARK: "1"})
    nights.add()
    assert nights.summary(nights.night(TICK))[:2] == ("finished", "nothing_new")
    assert nights.column("SELECT count(*) FROM batches") == [0]


@pytest.mark.parametrize(("error", "found"), [(StorageUnavailable("no answer"), 0), (AccessDenied("no"), 3)])
def test_an_object_that_cannot_be_looked_at_is_not_lost(nights: Nights, error: Exception, found: int) -> None:
    class Blind(Bucket):
        def head(self, bucket: str, key: str) -> ObjectInfo | None:
            return raising(error)() if key.endswith(".jpg") else None

    nights.add()
    run = nights.run(nights.night(TICK, Blind(3)))
    assert (run["state"], run["found"]) == ("running" if found else "listing", found)


def test_an_account_with_a_small_queue_gets_on(nights: Nights) -> None:
    account = new_account(nights.engine, "studio", queue_limit=10)
    nights.add(owner=Owner(account, BUCKET), recipe=replace(ENHANCE, output=None))
    run_id = nights.night(TICK, Bucket(25))
    assert nights.run(run_id)["found"] == 10
    nights.change("UPDATE jobs SET state = 'succeeded', due_at = NULL, finished_at = now(), cost_usd = 0")
    nights.expire()
    nights.look(TICK)
    nights.carry_out(run_id, Bucket(25))
    assert nights.run(run_id)["found"] == len(set(nights.custom_ids())) == 20


def test_a_tick_that_nobody_saw_is_not_lost_when_the_schedule_is_given_again(nights: Nights) -> None:
    nights.add()
    nights.change("UPDATE schedules SET due_at = :tick", tick=NOON - timedelta(hours=15))
    assert nights.add().next_tick == NOON - timedelta(hours=15)
    assert len(nights.look(NOON)) == 1
    assert nights.column("SELECT due_at FROM schedules") == [TICK]
    assert nights.add(cron="0 23 * * *").next_tick == TICK + timedelta(hours=1)
