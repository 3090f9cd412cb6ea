"""Nights of a schedule: what is found, what is left over, how each ends."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from models import DEFAULT_ACCOUNT
from models.run_views import read_runs_async
from models.schedules import list_schedules
from producer.batches import cancel_batch, pause_batch
from tests.integration import nights as nights_fixtures
from tests.integration import uploads as uploads_fixtures
from tests.integration.conftest import Run
from tests.integration.nights import DAY, TICK, Nights

s3, uploads, nights = uploads_fixtures.s3, uploads_fixtures.uploads, nights_fixtures.nights
MORNING = TICK + timedelta(hours=8)  # 06:00 in Paris
WINDOW = "22:00-06:00"
TWO_JOBS = Decimal("0.24")


def test_a_night_queues_what_is_there(nights: Nights) -> None:
    nights.put("1.jpg", "trip/2.jpg", "notes.txt")
    nights.add()
    assert nights.look(TICK - timedelta(seconds=1)) == []
    run = nights.run(nights.night(TICK))
    assert nights.custom_ids() == ["1.jpg", "trip/2.jpg"]
    assert (run["state"], run["seen"], run["found"]) == ("running", 2, 2)
    [batch] = nights.rows("SELECT name, schedule_id, closes_at FROM batches WHERE id = :id", id=run["batch_id"])
    assert (batch["name"], batch["schedule_id"]) == ("nightly-2026-03-02", run["schedule_id"])
    assert batch["closes_at"] is not None


def test_only_what_is_new_or_changed_comes_again(nights: Nights) -> None:
    nights.put("1.jpg", "trip/2.jpg")
    nights.add()
    nights.night(TICK)
    nights.put("3.jpg")
    nights.put("1.jpg", data="another")
    run = nights.run(nights.night(TICK + DAY))
    etag = nights.column("SELECT source->>'etag' FROM jobs ORDER BY id DESC LIMIT 2")
    assert (run["seen"], run["found"]) == (3, 2)
    assert set(nights.custom_ids()) - {"1.jpg", "trip/2.jpg", "3.jpg"} == {f"1~{etag[1][:8]}.jpg"}


def test_a_changed_picture_has_another_name_in_any_batch(nights: Nights) -> None:
    """Its results may go where those of the earlier version went."""
    nights.put("1.jpg")
    nights.add()
    nights.night(TICK)
    nights.work(TICK)
    nights.put("1.jpg", data="another")
    nights.night(TICK + DAY)
    assert nights.column("SELECT count(DISTINCT batch_id) FROM jobs") == [2]
    assert len(set(nights.custom_ids())) == 2


def test_a_night_without_anything_new_makes_no_batch(nights: Nights) -> None:
    nights.add()
    run_id = nights.night(TICK)
    assert nights.summary(run_id) == ("finished", "nothing_new", 0, 0, 0)
    assert nights.column("SELECT count(*) FROM batches") == [0]


def test_patterns_choose_what_is_listed(nights: Nights) -> None:
    nights.put("raw/1.jpg", "raw/2.png", "web/1.jpg")
    nights.add(include=["/raw/**"], exclude=["*.png"])
    nights.night(TICK)
    assert nights.custom_ids() == ["raw/1.jpg"]


def test_a_run_ends_with_its_batch(nights: Nights) -> None:
    nights.put("1.jpg", "2.jpg", "3.jpg")
    nights.add()
    run_id = nights.night(TICK)
    nights.work(TICK)
    nights.work(TICK, state="failed")
    nights.look(TICK + timedelta(minutes=5))
    assert nights.summary(run_id) == ("finished", "batch", 2, 1, 0)
    assert nights.run(run_id)["spent_usd"] == TWO_JOBS


def test_what_a_night_leaves_over_joins_the_next_with_its_budget(nights: Nights) -> None:
    nights.put(*(f"{number}.jpg" for number in range(5)))
    nights.add(budget_usd=TWO_JOBS)
    first = nights.night(TICK)
    for _ in range(3):
        nights.work(TICK)
    nights.look(TICK + timedelta(hours=1))
    assert nights.summary(first) == ("finished", "budget", 2, 0, 3)
    nights.put("new.jpg")
    second = nights.night(TICK + DAY)
    for _ in range(3):
        nights.work(TICK + DAY)
    nights.look(TICK + DAY + timedelta(hours=1))
    assert nights.summary(second) == ("finished", "budget", 2, 0, 2)
    assert [nights.run(each)["spent_usd"] for each in (first, second)] == [TWO_JOBS, TWO_JOBS]
    assert nights.column("SELECT budget_usd FROM batches") == [2 * TWO_JOBS]


def test_a_persons_pause_outlasts_the_night(nights: Nights) -> None:
    nights.put("1.jpg")
    nights.add(budget_usd=TWO_JOBS)
    batch_id = nights.run(nights.night(TICK))["batch_id"]
    with nights.engine.begin() as connection:
        pause_batch(connection, batch_id)
    nights.night(TICK + DAY)
    assert nights.column("SELECT paused_reason FROM batches") == ["user"]
    assert nights.work(TICK + DAY) == 0


def test_a_window_that_closes_ends_the_run_and_carries_over(nights: Nights) -> None:
    nights.put("1.jpg", "2.jpg", "3.jpg")
    nights.add(window=WINDOW)
    run_id = nights.night(TICK)
    nights.work(TICK)
    nights.look(MORNING - timedelta(seconds=1))
    assert nights.run(run_id)["finished_at"] is None
    assert nights.work(MORNING) == 0
    nights.look(MORNING)
    assert nights.summary(run_id) == ("finished", "window", 2, 0, 1)
    assert nights.column("SELECT admission_window FROM batches") == ["22:00-06:00@Europe/Paris"]


def test_the_next_tick_ends_the_night_before(nights: Nights) -> None:
    nights.put("1.jpg", "2.jpg", "3.jpg", "4.jpg")
    nights.add()
    first = nights.night(TICK)
    nights.work(TICK)
    nights.change("UPDATE jobs SET state = 'submitting' WHERE state = 'queued' AND custom_id = '3.jpg'")
    second = nights.night(TICK + DAY)
    assert nights.summary(first) == ("finished", "next_tick", 2, 0, 2)
    nights.change("UPDATE jobs SET state = 'queued' WHERE state = 'submitting'")
    nights.work(TICK + DAY)
    nights.look(TICK + DAY)
    assert nights.summary(second) == ("finished", "batch", 2, 0, 0)


def test_what_ends_between_the_tick_and_the_listing_is_told(nights: Nights) -> None:
    nights.put("1.jpg")
    nights.add()
    nights.night(TICK)
    [second] = nights.look(TICK + DAY)
    nights.work(TICK + DAY)
    nights.carry_out(second)
    assert nights.summary(second) == ("finished", "nothing_new", 1, 0, 0)
    assert nights.run(second)["spent_usd"] == Decimal("0.12")


def test_a_cancelled_batch_is_not_joined(nights: Nights) -> None:
    nights.put("1.jpg")
    nights.add()
    batch_id = nights.run(nights.night(TICK))["batch_id"]
    with nights.engine.begin() as connection:
        cancel_batch(connection, batch_id)
    nights.put("2.jpg")
    assert nights.run(nights.night(TICK + DAY))["batch_id"] != batch_id


def test_a_summary_is_told_as_an_event(nights: Nights, run: Run) -> None:
    nights.put("1.jpg", "2.jpg")
    added = nights.add(webhook_url="https://hooks.example.com/in")
    run_id = nights.night(TICK)
    nights.work(TICK)
    nights.look(TICK + timedelta(minutes=1))
    told = [row for row in nights.rows("SELECT * FROM deliveries") if row["type"] == "schedule.finished"]
    assert [(row["schedule_run_id"], row["url"]) for row in told] == [(run_id, "https://hooks.example.com/in")]
    views = run(lambda connection: read_runs_async(connection, [run_id]))
    data: dict[str, Any] = views[run_id].as_json()
    assert data["schedule"] == {"id": str(added.id), "name": "nightly"}
    assert (data["tick"], data["next_tick"]) == ("2026-03-02T21:00:00Z", "2026-03-03T21:00:00Z")
    numbers = [data[name] for name in ("seen", "found", "done", "failed", "carried_over", "spent_usd")]
    assert (numbers, data["ended_by"], data["error"]) == ([2, 2, 2, 0, 0, 0.24], "batch", None)
    assert data["batch"]["name"] == "nightly-2026-03-02"


def test_the_list_shows_the_last_night_and_the_present_one(nights: Nights) -> None:
    nights.put("1.jpg", "2.jpg", "3.jpg")
    nights.add(budget_usd=TWO_JOBS)
    first = nights.night(TICK)
    nights.work(TICK)
    second = nights.night(TICK + DAY)
    nights.work(TICK + DAY)
    with nights.engine.connect() as connection:
        [listed] = list_schedules(connection, DEFAULT_ACCOUNT)
    assert listed.last_run is not None
    assert listed.current_run is not None
    assert (listed.last_run.id, listed.last_run.done, listed.last_run.carried_over) == (first, 2, 1)
    assert (listed.current_run.id, listed.current_run.done, listed.current_run.spent_usd) == (
        second,
        1,
        Decimal("0.12"),
    )
    assert listed.as_json()["next_tick"] == "2026-03-04T21:00:00Z"


@pytest.mark.parametrize("source", ["s3://no-such-bucket-here/in/", "/no/such/folder"])
def test_a_source_that_cannot_be_read_fails_the_night_and_not_the_next(nights: Nights, source: str) -> None:
    nights.add(source=source)
    run_id = nights.night(TICK)
    assert nights.summary(run_id) == ("failed", "error", 0, 0, 0)
    assert nights.run(run_id)["error"].startswith("source_missing: ")
    nights.add()
    nights.put("1.jpg")
    assert nights.run(nights.night(TICK + DAY))["found"] == 1
