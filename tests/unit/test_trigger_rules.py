"""What a trigger wants, by place, name and age."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from models.triggers import TriggerRow
from producer.uploads.trigger_rules import EVER, is_recent, is_wanted, name_of

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ROW = TriggerRow(
    id=uuid.uuid4(),
    account_id=uuid.uuid4(),
    account="default",
    name="uploads",
    bucket="photos",
    prefix="in/",
    suffix="",
    recipe={"operation": "enhance", "params": {}},
    output=None,
    priority=0,
    quiet_s=60,
    most=10,
    budget_usd=None,
    webhook_url=None,
    since=NOON,
    repair_s=300,
    repaired_at=None,
    created_at=NOON,
)


@pytest.mark.parametrize("key", ["in/1.jpg", "in/a/b.JPEG", "in/ü.heic", "in/my photo (1).webp", "in/.png"])
def test_what_phota_takes_is_wanted(key: str) -> None:
    assert is_wanted(ROW, "photos", key)


@pytest.mark.parametrize("key", ["1.jpg", "out/1.jpg", "in/1.gif", "in/1.jpg.part", "in/", "IN/1.jpg"])
def test_other_places_and_kinds_are_not(key: str) -> None:
    assert not is_wanted(ROW, "photos", key)


def test_a_suffix_is_its_own_choice() -> None:
    raw = replace(ROW, suffix=".Raw.JPG")
    assert is_wanted(raw, "photos", "in/1.raw.jpg")
    assert not is_wanted(raw, "photos", "in/1.jpg")
    assert not is_wanted(ROW, "others", "in/1.jpg")


@pytest.mark.parametrize(
    ("prefix", "key", "name"),
    [
        ("in/", "in/a/1.jpg", "a/1.jpg"),
        ("in", "inside/1.jpg", "inside/1.jpg"),
        ("", "a/1.jpg", "a/1.jpg"),
        ("in/2026-", "in/2026-05/1.jpg", "2026-05/1.jpg"),
    ],
)
def test_a_job_is_called_by_the_key_below_the_folder_of_the_prefix(prefix: str, key: str, name: str) -> None:
    assert name_of(replace(ROW, prefix=prefix), key) == name


def test_names_that_had_to_be_cleaned_stay_different() -> None:
    names = {name_of(ROW, f"in/{name}.jpg") for name in ("a//b", "a/b", "a/./b", "x" * 600, "x" * 601)}
    assert len(names) == 5
    assert max(map(len, names)) <= 512


def test_the_second_of_the_beginning_counts() -> None:
    row = replace(ROW, since=NOON + timedelta(milliseconds=300))
    assert is_recent(row, NOON), "S3 tells whole seconds"
    assert is_recent(row, None)
    assert not is_recent(row, NOON - timedelta(seconds=1))
    assert is_recent(replace(ROW, since=EVER), EVER)
