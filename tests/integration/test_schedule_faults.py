"""Schedules under trouble: nothing is lost, nothing is queued twice, and whatever fails says so."""

import os
import threading
import uuid
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text

from clients.storage import AccessDenied, StorageUnavailable
from models import schedule_runs, schedules
from producer.batches import cancel_batch
from producer.ownership import Owner
from sandbox.samples import write_samples
from tests.integration import nights as nights_fixtures
from tests.integration import uploads as uploads_fixtures
from tests.integration.api_fixtures import new_account
from tests.integration.nights import BUCKET, DAY, ENHANCE, TICK, Bucket, Nights, raising
from worker.schedules import look

s3, uploads, nights = uploads_fixtures.s3, uploads_fixtures.uploads, nights_fixtures.nights


class Killed(BaseException):
    """As by `kill -9`: nobody cleans up."""


# --- the clock


@pytest.mark.parametrize("away", [DAY, 20 * DAY])
def test_missed_ticks_run_once_for_the_latest(nights: Nights, away: timedelta) -> None:
    nights.add()
    back = TICK + away + timedelta(hours=3)
    assert len(nights.look(back)) == 1
    assert nights.look(back + timedelta(seconds=1)) == []
    assert nights.column("SELECT tick FROM schedule_runs") == [TICK + away]
    assert nights.column("SELECT due_at FROM schedules") == [TICK + away + DAY]


def test_a_tick_has_one_run_however_many_dispatchers_look(nights: Nights) -> None:
    nights.add()
    with nights.engine.connect() as first, nights.engine.connect() as second:
        second.execute(text("SET lock_timeout = '5s'"))
        sent = look(first, now=TICK), look(second, now=TICK)
        first.commit()
        second.commit()
        assert [len(ids) for ids in sent] == [1, 0]
        assert look(second, now=TICK + timedelta(seconds=1)) == []


def test_a_dispatcher_that_saw_the_tick_long_ago_begins_no_second_run(nights: Nights) -> None:
    added = nights.add()
    with nights.engine.begin() as connection:
        [due] = schedules.lock_due(connection, TICK)
    [run_id] = nights.look(TICK)
    with nights.engine.begin() as connection:
        assert schedule_runs.begin_run(connection, added.id, tick=due.due_at, now=TICK) is None
    assert nights.run(run_id)["finished_at"] is None


def test_a_worker_frozen_in_its_transaction_holds_up_no_dispatcher(nights: Nights) -> None:
    nights.add()
    nights.look(TICK)
    with nights.engine.connect() as worker:
        worker.execute(text("SELECT FROM schedule_runs FOR UPDATE"))
        with nights.engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
            assert look(connection, now=TICK + DAY) == []
    assert len(nights.look(TICK + DAY + timedelta(seconds=1))) == 1


# --- workers


def test_a_worker_that_dies_between_two_groups_queues_nothing_twice(nights: Nights) -> None:
    nights.add()
    [run_id] = nights.look(TICK)
    with pytest.raises(Killed):
        nights.carry_out(run_id, Bucket(2_700, at=2_500, then=raising(Killed())))
    assert len(nights.custom_ids()) == 2_000
    nights.expire()
    assert nights.look(TICK) == [run_id]
    nights.carry_out(run_id, Bucket(2_700))
    assert Counter(nights.custom_ids()).most_common(1)[0][1] == 1
    assert len(nights.custom_ids()) == nights.run(run_id)["found"] == nights.run(run_id)["seen"] == 2_700
    assert nights.column("SELECT count(*) FROM batches") == [1]


def test_a_night_gets_its_budget_once_however_often_it_is_claimed(nights: Nights) -> None:
    nights.put("1.jpg", "2.jpg", "3.jpg")
    nights.add(budget_usd=Decimal(1))
    nights.night(TICK)
    nights.work(TICK)
    [run_id] = nights.look(TICK + DAY)
    with pytest.raises(Killed):
        nights.carry_out(run_id, Bucket(1, then=raising(Killed())))
    nights.work(TICK + DAY)
    nights.expire()
    nights.look(TICK + DAY)
    nights.carry_out(run_id)
    assert nights.column("SELECT budget_usd FROM batches") == [Decimal("1.24")]


def test_a_worker_that_lost_its_run_queues_nothing_more(nights: Nights) -> None:
    nights.add()
    [run_id] = nights.look(TICK)

    def lose() -> None:
        nights.expire()
        nights.look(TICK)
        nights.carry_out(run_id, Bucket(1_500))

    nights.carry_out(run_id, Bucket(2_000, at=1_200, then=lose))
    assert len(nights.custom_ids()) == 1_500
    assert nights.run(run_id)["state"] == "running"


def test_a_worker_that_stops_hands_the_run_back(nights: Nights) -> None:
    nights.add()
    [run_id] = nights.look(TICK)
    nights.carry_out(run_id, Bucket(1_500, at=1_200, then=nights.stopping.set))
    run = nights.run(run_id)
    assert (run["state"], run["hold"], run["claims"], run["found"]) == ("listing", "idle", 0, 1_000)
    nights.stopping = threading.Event()
    nights.expire()
    assert nights.look(TICK) == [run_id]
    nights.carry_out(run_id, Bucket(1_500))
    assert nights.run(run_id)["found"] == 1_500


def test_a_run_that_workers_die_of_three_times_fails(nights: Nights) -> None:
    nights.add()
    for _ in range(3):
        [run_id] = nights.look(TICK)
        with pytest.raises(Killed):
            nights.carry_out(run_id, Bucket(1, then=raising(Killed())))
        nights.expire()
    assert nights.look(TICK) == []
    assert nights.summary(run_id) == ("failed", "error", 0, 0, 0)
    assert nights.run(run_id)["error"].startswith("worker_lost: ")


def test_a_fault_of_our_own_is_tried_again_and_told_in_the_end(nights: Nights) -> None:
    nights.add()
    for _ in range(3):
        [run_id] = nights.look(TICK)
        nights.carry_out(run_id, Bucket(1, then=raising(ZeroDivisionError())))
        nights.expire()
    nights.look(TICK)
    assert nights.run(run_id)["error"].endswith("; internal: ZeroDivisionError")


def test_a_doubled_message_takes_nothing(nights: Nights) -> None:
    nights.put("1.jpg")
    nights.add()
    run_id = nights.night(TICK)
    before = nights.run(run_id)
    nights.carry_out(run_id)
    nights.carry_out(uuid.uuid4())
    assert nights.run(run_id) == before


# --- the source


def test_a_bucket_that_is_away_is_tried_again_in_the_same_night(nights: Nights) -> None:
    nights.add()
    [run_id] = nights.look(TICK)
    nights.carry_out(run_id, Bucket(1_500, at=1_100, then=raising(StorageUnavailable("no answer"))))
    run = nights.run(run_id)
    assert (run["state"], run["hold"], run["error"]) == ("listing", "idle", "storage_unavailable: no answer")
    nights.expire()
    nights.look(TICK)
    nights.carry_out(run_id, Bucket(1_500))
    run = nights.run(run_id)
    assert (run["state"], run["found"], run["error"]) == ("running", 1_500, None)


def test_a_bucket_that_is_away_all_night_fails_the_night(nights: Nights) -> None:
    nights.add()
    run_id = nights.night(TICK, Bucket(1, then=raising(StorageUnavailable("no answer"))))
    nights.look(TICK + DAY)
    assert nights.summary(run_id) == ("failed", "next_tick", 0, 0, 0)


def test_what_was_carried_over_is_worked_on_though_the_source_is_gone(nights: Nights) -> None:
    nights.put("1.jpg", "2.jpg", "3.jpg")
    nights.add()
    nights.night(TICK)
    nights.work(TICK)
    run_id = nights.night(TICK + DAY, Bucket(1, then=raising(AccessDenied("no longer"))))
    assert nights.run(run_id)["error"] == "access_denied: no longer"
    nights.work(TICK + DAY)
    nights.look(TICK + DAY)
    assert nights.summary(run_id) == ("failed", "batch", 1, 0, 0)


def test_a_cancelled_batch_ends_its_run(nights: Nights) -> None:
    nights.add()
    [run_id] = nights.look(TICK)

    def cancel() -> None:
        with nights.engine.begin() as connection:
            cancel_batch(connection, nights.run(run_id)["batch_id"])

    nights.carry_out(run_id, Bucket(1_500, at=1_200, then=cancel))
    nights.work(TICK)
    nights.look(TICK)
    assert nights.summary(run_id) == ("finished", "batch", 0, 0, 0)
    assert nights.run(nights.night(TICK + DAY, Bucket(1_500)))["found"] == 500


def test_a_full_queue_is_waited_for(nights: Nights) -> None:
    account = new_account(nights.engine, "studio", queue_limit=600)
    nights.add(owner=Owner(account, BUCKET), recipe=replace(ENHANCE, output=None))
    run_id = nights.night(TICK, Bucket(1_500))
    run = nights.run(run_id)
    assert (run["state"], run["found"]) == ("listing", 600), "to the last place, though groups are of 500"
    assert run["error"].startswith("queue_full: ")


def test_a_folder_is_uploaded_and_what_is_no_picture_is_rejected_once(nights: Nights, tmp_path: Path) -> None:
    write_samples(tmp_path, 2)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    nights.add(source=str(tmp_path))
    run_id = nights.night(TICK)
    assert nights.column("SELECT state FROM jobs ORDER BY state") == ["queued", "queued", "rejected"]
    nights.work(TICK)
    nights.look(TICK)
    assert nights.summary(run_id) == ("finished", "batch", 2, 1, 0)
    assert nights.run(nights.night(TICK + DAY))["found"] == 0


def test_a_file_that_changed_comes_again_under_another_name(nights: Nights, tmp_path: Path) -> None:
    write_samples(tmp_path, 1)
    [photo] = tmp_path.iterdir()
    nights.add(source=str(tmp_path))
    nights.night(TICK)
    os.utime(photo, (0, 0))
    assert nights.run(nights.night(TICK + DAY))["found"] == 1
    assert [name == photo.name for name in nights.custom_ids()].count(True) == 1
    assert len(nights.custom_ids()) == 2
