"""Schedules added, replaced, removed, run by hand; and what is refused at once rather than at night."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from clients.phota_requests import Operation
from models import DEFAULT_ACCOUNT
from producer.ownership import Owner
from producer.recipes import Recipe
from producer.schedules.definitions import (
    AlreadyBegun,
    InvalidSchedule,
    NewSchedule,
    NoSuchSchedule,
    check_places,
    remove_schedule,
    run_now,
)
from tests.integration import nights as nights_fixtures
from tests.integration import uploads as uploads_fixtures
from tests.integration.api_fixtures import new_account
from tests.integration.nights import BUCKET, DAY, ENHANCE, NOON, TICK, Bucket, Nights

s3, uploads, nights = uploads_fixtures.s3, uploads_fixtures.uploads, nights_fixtures.nights


def to(output: str | None) -> Recipe:
    return Recipe(Operation.ENHANCE, {}, output=output)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"name": "not a name"}, "its name has"),
        ({"cron": "0 25 * * *"}, "the cron expression .* Bad hour"),
        ({"cron": "0 0 */20 * 1L"}, "never comes"),
        ({"time_zone": "Europe/Pari"}, "unknown time zone 'Europe/Pari'"),
        ({"window": "22:00"}, "the window must look like"),
        ({"window": "22:00-06:00@Mars/Base"}, "the window has an unknown time zone"),
        ({"source": "https://example.com/1.jpg"}, "looks into s3://bucket/prefix or a folder"),
        ({"source": "photos"}, "looks into s3://bucket/prefix or a folder"),
        ({"source": "s3://?/"}, "no valid bucket"),
        ({"include": ["{a"]}, "never closed"),
        ({"budget_usd": Decimal("-1")}, "budget_usd"),
        ({"max_failure_rate": 2.0}, "max_failure_rate"),
        ({"webhook_url": "http://169.254.169.254/"}, "webhook: "),
        ({"recipe": Recipe(Operation.GENERATE, {"prompt": "a boat"})}, "generate makes pictures"),
        ({"recipe": Recipe(Operation.EDIT, {})}, "prompt"),
        ({"recipe": to("s3://results/{index}")}, "custom_id"),
    ],
)
def test_what_would_not_work_at_night_is_refused_at_once(nights: Nights, fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidSchedule, match=fault):
        nights.add(**fields)
    assert nights.column("SELECT count(*) FROM schedules") == [0]


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("s3://photos/in/", "s3://photos/in/done/"),
        ("s3://photos/in/", "s3://photos/{custom_id}/{index}.{ext}"),
        ("s3://photos", "s3://photos/done/"),
        (f"s3://{BUCKET}/night", None),  # where the batches of `nightly` go
        (f"s3://{BUCKET}", None),
    ],
)
def test_results_that_would_be_photos_are_refused(nights: Nights, source: str, output: str | None) -> None:
    with pytest.raises(InvalidSchedule, match="the next run's photos"):
        nights.add(source=source, recipe=to(output))


def test_two_schedules_do_not_feed_each_other(nights: Nights) -> None:
    nights.add("first", source="s3://photos/a/", recipe=to("s3://photos/b/"))
    nights.add("second", source="s3://photos/b/", recipe=to("s3://photos/c/"))
    with pytest.raises(InvalidSchedule, match="third → first → second → third"):
        nights.add("third", source="s3://photos/c/", recipe=to("s3://photos/a/"))


def test_the_usual_place_beside_the_source_is_allowed(nights: Nights) -> None:
    assert nights.add(source=f"s3://{BUCKET}/in/", recipe=to(None)).is_new


def test_the_window_is_in_the_zone_of_the_schedule_unless_it_names_one(nights: Nights) -> None:
    nights.add("a", window="22:00-06:00")
    nights.add("b", window="22:00-06:00@UTC")
    windows = nights.column("SELECT admission_window FROM schedules ORDER BY name")
    assert windows == ["22:00-06:00@Europe/Paris", "22:00-06:00@UTC"]


def test_an_account_reads_only_what_is_its_own(nights: Nights) -> None:
    account = new_account(nights.engine, "studio", s3_prefixes=("s3://photos/studio/",))
    owner = Owner(account, BUCKET)
    for source in ("s3://photos/other/", "s3://photos/studio", "/srv/photos"):
        with pytest.raises(InvalidSchedule, match=r"must be below|only the operator"):
            nights.add(owner=owner, source=source, recipe=to(None))
    with pytest.raises(InvalidSchedule, match="output: must be below"):
        nights.add(owner=owner, source="s3://photos/studio/", recipe=ENHANCE)
    assert nights.add(owner=owner, source="s3://photos/studio/", recipe=to(None)).is_new


def test_what_an_account_may_not_read_any_more_fails_its_night(nights: Nights) -> None:
    account = new_account(nights.engine, "studio", s3_prefixes=("s3://photos/studio/",))
    nights.add(owner=Owner(account, BUCKET), source="s3://photos/studio/", recipe=to(None))
    nights.change("UPDATE accounts SET s3_prefixes = '[]' WHERE name = 'studio'")
    run_id = nights.night(TICK, Bucket(3))
    assert nights.run(run_id)["error"].startswith("not_allowed: image: must be below")
    assert nights.custom_ids() == []


def test_places_are_looked_at_when_a_schedule_is_added(nights: Nights) -> None:
    wanted = NewSchedule("nightly", "0 22 * * *", "UTC", f"s3://{BUCKET}/in/", to(f"s3://{BUCKET}/done/"))
    check_places(nights.uploads.storage, wanted)
    for missing in (replace(wanted, source="s3://not-there/in/"), replace(wanted, recipe=to("s3://not-there/done/"))):
        with pytest.raises(InvalidSchedule, match="not-there"):
            check_places(nights.uploads.storage, missing)
    with pytest.raises(InvalidSchedule, match="no such folder"):
        check_places(nights.uploads.storage, replace(wanted, source="/no/such/folder"))


def test_one_that_is_replaced_keeps_its_id_and_what_it_has_seen(nights: Nights) -> None:
    nights.put("1.jpg")
    first = nights.add()
    nights.night(TICK)
    second = nights.add(cron="0 21 * * *", webhook_url="https://hooks.example.com/in")
    assert (second.id, second.is_new) == (first.id, False)
    assert second.next_tick == TICK - timedelta(hours=1)
    assert nights.run(nights.night(TICK + DAY))["found"] == 0
    assert nights.column("SELECT url FROM webhook_endpoints") == ["https://hooks.example.com/in"]


def test_one_that_is_removed_comes_no_more_and_what_is_queued_goes_on(nights: Nights) -> None:
    nights.put("1.jpg")
    nights.add()
    run_id = nights.night(TICK)
    with nights.engine.begin() as connection:
        remove_schedule(connection, DEFAULT_ACCOUNT, "nightly")
    assert nights.look(TICK + DAY) == []
    nights.work(TICK + DAY)
    nights.look(TICK + DAY)
    assert nights.summary(run_id) == ("finished", "batch", 1, 0, 0)
    assert nights.add().is_new
    assert nights.column("SELECT count(*) FROM seen_objects") == [0]


def test_a_removal_ends_what_is_being_listed(nights: Nights) -> None:
    nights.add()
    [run_id] = nights.look(TICK)

    def remove() -> None:
        with nights.engine.begin() as connection:
            remove_schedule(connection, DEFAULT_ACCOUNT, "nightly")

    nights.carry_out(run_id, Bucket(1_500, at=1_200, then=remove))
    assert nights.summary(run_id) == ("finished", "removed", 0, 0, 1_000)
    nights.look(TICK)
    assert nights.column("SELECT closes_at IS NOT NULL FROM batches") == [True]


def test_a_run_by_hand_comes_beside_the_clocks(nights: Nights) -> None:
    nights.put("1.jpg")
    nights.add()
    with nights.engine.begin() as connection:
        run_id = run_now(connection, DEFAULT_ACCOUNT, "nightly", now=NOON)
        with pytest.raises(AlreadyBegun):
            run_now(connection, DEFAULT_ACCOUNT, "nightly", now=NOON)
    assert nights.night(NOON) == run_id
    assert nights.night(TICK) != run_id
    assert nights.summary(run_id) == ("finished", "next_tick", 0, 0, 1)


@pytest.mark.parametrize("verb", [remove_schedule, run_now])
def test_an_unknown_schedule_is_told(nights: Nights, verb: Any) -> None:
    with nights.engine.begin() as connection, pytest.raises(NoSuchSchedule):
        verb(connection, DEFAULT_ACCOUNT, "nightly")
