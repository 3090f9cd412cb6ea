"""Uploads become jobs, each once, grouped in bursts; on a real database and a real S3."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from math import inf, nan
from typing import Any

import pytest
from sqlalchemy import Engine, text

from cli.events import taking
from clients.s3_objects import JOB_MARK
from clients.s3_uri import S3Uri
from clients.storage import Storage, StorageUnavailable
from models.accounts import read_account
from models.states import Priority, Stage
from models.triggers import take_due_triggers
from producer.ownership import Owner, QueueFull
from producer.recipes import Recipe
from producer.uploads.arrivals import Accepted, Reception, accept, take
from producer.uploads.repair import as_event, repair_triggers
from producer.uploads.s3_events import parse_events
from producer.uploads.triggers import InvalidTrigger, remove_trigger
from settings import Settings
from tests.integration import uploads as fixtures
from tests.integration.api_fixtures import new_account
from tests.integration.conftest import Run, admit_all, claimed
from tests.integration.uploads import BUCKET, ENHANCE, OWNER, Uploads, rows

s3, uploads = fixtures.s3, fixtures.uploads


def test_an_upload_becomes_one_job_however_often_it_is_told(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    record = uploads.put("a/1.jpg")
    told = [uploads.tell(engine, record, record), uploads.tell(engine, record)]
    assert told == [Accepted(accepted=1, known=1), Accepted(known=1)]
    uri = f"s3://{BUCKET}/{uploads.prefix}a/1.jpg"
    assert rows(engine, "custom_id, state, params ->> 'image', source ->> 'path', source ->> 'trigger'") == [
        ("a/1.jpg", "queued", uri, uri, "uploads")
    ]


@pytest.mark.parametrize("name", ["my photo (1).jpg", "ü.jpg", "a+b.jpg", "100%.jpg", "u\u0308.JPG"])
def test_a_key_is_what_its_uploader_wrote(uploads: Uploads, engine: Engine, name: str) -> None:
    uploads.watch(engine)
    assert uploads.tell(engine, uploads.put(name)).accepted == 1
    assert rows(engine, "custom_id") == [name]


def test_what_no_trigger_wants_is_ignored(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine, suffix="-print.jpg")
    records = [uploads.put(name) for name in ("1.jpg", "1.txt", "1-PRINT.jpg")]
    assert uploads.tell(engine, *records) == Accepted(accepted=1, ignored=2)
    assert rows(engine, "custom_id") == ["1-PRINT.jpg"]


def test_what_is_gone_or_empty_is_ignored(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    gone, empty = uploads.put("gone.jpg"), uploads.put("empty.jpg", b"")
    uploads.s3.delete_object(Bucket=BUCKET, Key=f"{uploads.prefix}gone.jpg")
    assert uploads.tell(engine, gone, empty) == Accepted(ignored=2)


def test_what_was_there_before_is_none_of_its_business(uploads: Uploads, engine: Engine) -> None:
    record = uploads.put("old.jpg")
    uploads.watch(engine, since=None)
    with engine.begin() as connection:
        connection.execute(text("UPDATE triggers SET since = now() + interval '1 minute'"))
    assert uploads.tell(engine, record) == Accepted(ignored=1)


def test_an_output_is_never_an_upload(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    output = uploads.put("result.jpg", Metadata={JOB_MARK: "01a20654-4849-767b-adc9-000000000000"})
    assert [uploads.tell(engine, output), uploads.tell(engine, output)] == [Accepted(ignored=1), Accepted(known=1)]
    assert rows(engine, "id") == []


def test_one_upload_serves_every_trigger_that_wants_it(uploads: Uploads, engine: Engine) -> None:
    for name in ("one", "two"):
        uploads.watch(engine, name)
    assert uploads.tell(engine, uploads.put("1.jpg")) == Accepted(accepted=2)
    assert sorted(rows(engine, "name", "FROM batches")) == ["one", "two"]


def test_triggers_of_another_account_take_nothing(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    owner = Owner(new_account(engine, "second"), BUCKET)
    events = parse_events({"Records": [uploads.put("1.jpg")]})
    assert accept(engine, uploads.storage, events, owner) == Accepted(ignored=1)


def test_the_same_bytes_under_another_key_are_a_job_of_the_same_content(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    uploads.tell(engine, uploads.put("1.jpg"), uploads.put("copy.jpg"), uploads.put("other.jpg", b"other"))
    assert sorted(Counter(rows(engine, "content_key")).values()) == [1, 2]


# --- overwritten, out of order, versions


def test_an_overwritten_object_is_one_job_of_what_is_there(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    first, second = uploads.put("1.jpg", b"first"), uploads.put("1.jpg", b"second")
    assert uploads.tell(engine, first) == Accepted(accepted=1)
    assert uploads.tell(engine, second) == Accepted(known=1)
    assert rows(engine, "source ->> 'etag'") == [second["s3"]["object"]["eTag"]]


def test_a_changed_object_is_another_job_in_the_same_burst(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    uploads.tell(engine, uploads.put("a/1.jpg", b"first"))
    changed = uploads.put("a/1.jpg", b"second")
    assert uploads.tell(engine, changed) == Accepted(accepted=1)
    digits = changed["s3"]["object"]["eTag"][:8]
    assert rows(engine, "custom_id") == ["a/1.jpg", f"a/1~{digits}.jpg"]
    assert len(set(rows(engine, "batch_id"))) == 1


def test_an_event_that_was_overtaken_is_dropped(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    early, late = uploads.put("1.jpg", b"early"), uploads.put("1.jpg", b"late")
    early["s3"]["object"]["sequencer"], late["s3"]["object"]["sequencer"] = "0055AED6DCD9", "0055AED6DCD90281E5"
    assert uploads.tell(engine, late) == Accepted(accepted=1)
    uploads.put("1.jpg", b"later still")
    assert uploads.tell(engine, early) == Accepted(ignored=1), "what it tells of is not there"


@pytest.fixture
def versions(uploads: Uploads) -> Uploads:
    """In a bucket that keeps versions."""
    bucket = "photabatch-versions"
    uploads.storage.ensure_bucket(bucket)
    uploads.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return Uploads(uploads.s3, uploads.storage, bucket)


def test_each_version_is_a_job_of_its_own_bytes(versions: Uploads, engine: Engine, run: Run) -> None:
    versions.watch(engine)
    first, second = versions.put("1.jpg", b"first"), versions.put("1.jpg", b"second")
    assert versions.tell(engine, second, first) == Accepted(accepted=2)
    jobs = claimed(run, Stage.SUBMIT, admit_all(engine))
    assert {job.custom_id: _bytes(versions, job) for job in jobs} == {
        "1.jpg": b"second",
        f"1~{first['s3']['object']['eTag'][:8]}.jpg": b"first",
    }


def _bytes(versions: Uploads, job: Any) -> bytes:
    uri = S3Uri.parse(job.params["image"])
    version_id = job.version_of(job.params["image"])
    assert version_id
    return versions.storage.get(uri.bucket, uri.key, max_bytes=10, version_id=version_id)


def test_a_version_with_the_same_bytes_is_no_other_job(versions: Uploads, engine: Engine) -> None:
    versions.watch(engine)
    assert versions.tell(engine, versions.put("1.jpg"), versions.put("1.jpg")) == Accepted(accepted=1, known=1)


def test_the_version_is_known_even_where_the_event_does_not_tell(versions: Uploads, engine: Engine) -> None:
    versions.watch(engine)
    record = versions.put("1.jpg")
    version_id = record["s3"]["object"].pop("versionId")
    versions.tell(engine, record)
    assert rows(engine, "source ->> 'version_id'") == [version_id]


# --- bursts


def test_a_burst_is_one_batch_and_its_jobs_start_at_once(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine, quiet_s=60, budget_usd=Decimal(5), webhook_url="https://example.com/hook")
    for number in range(3):
        uploads.tell(engine, uploads.put(f"{number}.jpg", b"%d" % number))
    [(labels, priority, budget, hook, is_open)] = rows(
        engine, "metadata ->> 'trigger', priority, budget_usd, webhook_url, closes_at > now()", "FROM batches"
    )
    assert (labels, priority, budget, hook) == ("uploads", Priority.INTERACTIVE, 5, "https://example.com/hook")
    assert is_open
    assert len(admit_all(engine)) == 3


def test_a_burst_ends_when_it_was_quiet(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine, quiet_s=60)
    for name in ("1.jpg", "2.jpg"):
        uploads.tell(engine, uploads.put(name, name.encode()))
        with engine.begin() as connection:
            connection.execute(text("UPDATE batches SET closes_at = closes_at - interval '61 s'"))
    assert len(rows(engine, "id", "FROM batches")) == 2


def test_a_burst_holds_exactly_as_many_as_it_may(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine, most=4)
    records = [uploads.put(f"{number}.jpg", b"%d" % number) for number in range(10)]
    uploads.tell(engine, *records[:3])
    uploads.tell(engine, *records[3:])
    sizes = rows(engine, "count(*)", "FROM jobs GROUP BY batch_id ORDER BY batch_id")
    assert sizes == [4, 4, 2]
    assert rows(engine, "closes_at > now()", "FROM batches ORDER BY id") == [False, False, True]


def test_a_cancelled_burst_is_not_joined(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    uploads.tell(engine, uploads.put("1.jpg"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET cancelled_at = now()"))
    uploads.tell(engine, uploads.put("2.jpg", b"2"))
    assert len(rows(engine, "id", "FROM batches")) == 2


# --- what fails changes nothing


def test_while_s3_is_away_nothing_is_remembered(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    record = uploads.put("1.jpg")
    away = Storage(endpoint_url="http://127.0.0.1:1")
    with pytest.raises(StorageUnavailable):
        accept(engine, away, parse_events({"Records": [record]}), OWNER)
    assert uploads.tell(engine, record) == Accepted(accepted=1)


def test_a_full_queue_takes_what_fits_and_remembers_no_more(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    records = [uploads.put(f"{number}.jpg", b"%d" % number) for number in range(5)]
    with engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET queue_limit = 2"))
        account = read_account(connection, OWNER.account.id)
    assert account is not None
    with pytest.raises(QueueFull):
        accept(engine, uploads.storage, parse_events({"Records": records}), Owner(account, BUCKET))
    assert rows(engine, "count(*)", "FROM seen_objects") == rows(engine, "count(*)", "FROM jobs") == [2]
    assert uploads.tell(engine, *records) == Accepted(accepted=3, known=2)


def test_what_the_account_may_not_read_any_more_leaves_a_trace(uploads: Uploads, engine: Engine) -> None:
    account = new_account(engine, "second", s3_prefixes=(f"s3://{BUCKET}/{uploads.prefix}", "s3://results/"))
    uploads.watch(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE triggers SET account_id = :id"), {"id": account.id})
        connection.execute(text("UPDATE accounts SET s3_prefixes = '[]' WHERE id = :id"), {"id": account.id})
        account = read_account(connection, account.id) or account
    events = parse_events({"Records": [uploads.put("1.jpg")]})
    assert accept(engine, uploads.storage, events, Owner(account, BUCKET)) == Accepted(accepted=1)
    assert rows(engine, "state, error_code") == [("rejected", "not_allowed")]


def test_a_queue_that_is_read_for_months_goes_by_what_the_account_may_now(uploads: Uploads, engine: Engine) -> None:
    account = new_account(engine, "second", s3_prefixes=(f"s3://{BUCKET}/{uploads.prefix}", "s3://results/"))
    take = taking(engine, uploads.storage, Settings(_env_file=None, s3_bucket=BUCKET), account.id)
    uploads.watch(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE triggers SET account_id = :id"), {"id": account.id})
        connection.execute(text("UPDATE accounts SET s3_prefixes = '[]' WHERE id = :id"), {"id": account.id})
    take(parse_events({"Records": [uploads.put("1.jpg")]}))
    assert rows(engine, "state, error_code") == [("rejected", "not_allowed")]


# --- added, changed, removed


@pytest.mark.parametrize("field", [{name: value} for name in ("quiet_s", "repair_s") for value in (0.0, inf, nan)])
def test_a_time_that_never_ends_is_refused(uploads: Uploads, engine: Engine, field: dict[str, float]) -> None:
    with pytest.raises(InvalidTrigger, match="must be more than 0 and at most"):
        uploads.watch(engine, **field)
    with pytest.raises(InvalidTrigger, match="most must be between 1 and"):
        uploads.watch(engine, most=3_000_000_000)


def test_a_trigger_that_is_given_again_keeps_what_it_has_seen(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    record = uploads.put("1.jpg")
    uploads.tell(engine, record)
    again = uploads.watch(engine, since=None, quiet_s=5)
    assert (again.is_new, again.trigger.quiet_s) == (False, 5)
    assert uploads.tell(engine, record) == Accepted(known=1)
    uploads.tell(engine, uploads.put("2.jpg", b"2"))
    assert len(rows(engine, "id", "FROM batches")) == 2, "the new limits are those of a new burst"


def test_a_trigger_that_begins_anew_has_seen_nothing(uploads: Uploads, engine: Engine) -> None:
    first = uploads.watch(engine)
    record = uploads.put("1.jpg")
    uploads.tell(engine, record)
    second = uploads.watch(engine, suffix=".jpg")
    assert second.is_new
    assert second.trigger.id != first.trigger.id
    assert uploads.tell(engine, record) == Accepted(accepted=1)


def test_a_removed_trigger_takes_nothing_more(uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    uploads.tell(engine, uploads.put("1.jpg"))
    with engine.begin() as connection:
        removed = [remove_trigger(connection, OWNER.account.id, name) for name in ("uploads", "uploads")]
    assert removed == [True, False]
    assert uploads.tell(engine, uploads.put("2.jpg")) == Accepted(ignored=1)
    assert rows(engine, "count(*)", "FROM seen_objects") == [0]


def test_a_loop_is_refused_and_named(uploads: Uploads, engine: Engine) -> None:
    out = f"s3://{BUCKET}/{uploads.prefix}b/"
    there = Recipe(ENHANCE.operation, {}, output=out)
    with pytest.raises(InvalidTrigger, match="would be uploads again"):
        uploads.watch(engine, "a", recipe=there)
    uploads.watch(engine, "a", source=S3Uri(BUCKET, f"{uploads.prefix}a/"), recipe=there)
    back = Recipe(ENHANCE.operation, {}, output=f"s3://{BUCKET}/{uploads.prefix}a/x/")
    with pytest.raises(InvalidTrigger, match="b → a → b"):
        uploads.watch(engine, "b", source=S3Uri(BUCKET, f"{uploads.prefix}b/"), recipe=back)
    assert uploads.watch(engine, "b", source=S3Uri(BUCKET, f"{uploads.prefix}b/")).fed_by == ["a"]


def test_the_usual_place_counts_as_a_destination(uploads: Uploads, engine: Engine) -> None:
    usual = Recipe(ENHANCE.operation, {})
    with pytest.raises(InvalidTrigger, match=f"{BUCKET}/uploads-"):
        uploads.watch(engine, source=S3Uri(BUCKET, ""), recipe=usual)
    assert uploads.watch(engine, source=S3Uri(BUCKET, "in/"), recipe=usual).is_new


# --- all at once


@pytest.fixture
def repaired(uploads: Uploads, engine: Engine) -> Callable[[], None]:
    """List what every trigger looks at, as a worker does."""

    def repair() -> None:
        with engine.begin() as connection:
            connection.execute(text("UPDATE triggers SET due_at = now()"))
            due = take_due_triggers(connection, limit=10)
        repair_triggers(engine, uploads.storage, due, Settings(_env_file=None, s3_bucket=BUCKET))

    return repair


def test_a_thousand_events_doubled_shuffled_and_lost_make_a_thousand_jobs(
    uploads: Uploads, engine: Engine, repaired: Callable[[], None]
) -> None:
    uploads.watch(engine, quiet_s=60)
    with ThreadPoolExecutor(16) as pool:
        records = list(pool.map(lambda number: uploads.put(f"{number:04d} ü+.jpg", b"%d" % number), range(1_000)))
    luck = random.Random(7)
    lost = set(luck.sample(range(1_000), 50))
    told = [record for number, record in enumerate(records) if number not in lost for _ in range(luck.randint(1, 3))]
    luck.shuffle(told)
    posts = [told[start : start + 10] for start in range(0, len(told), 10)]
    with ThreadPoolExecutor(8) as pool:
        counts = sum(pool.map(lambda post: uploads.tell(engine, *post), posts), Accepted())
    assert counts == Accepted(accepted=950, known=len(told) - 950)
    repaired()
    assert len(set(rows(engine, "custom_id"))) == len(rows(engine, "id")) == 1_000
    assert rows(engine, "count(*)", "FROM batches") == [1]


def test_a_listing_finds_what_no_event_told_of_once(
    uploads: Uploads, engine: Engine, repaired: Callable[[], None]
) -> None:
    uploads.watch(engine)
    uploads.tell(engine, uploads.put("told.jpg"))
    uploads.put("missed.jpg", b"missed")
    uploads.put("result.jpg", b"result", Metadata={JOB_MARK: "1"})
    for _ in range(2):
        repaired()
    assert rows(engine, "custom_id") == ["told.jpg", "missed.jpg"]
    [(repaired_at, due, hold)] = rows(engine, "repaired_at, due_at - repaired_at, hold", "FROM triggers")
    assert repaired_at is not None
    assert due.total_seconds() == 300
    assert hold == "idle"


def test_two_listings_at_once_queue_nothing_twice(uploads: Uploads, engine: Engine) -> None:
    trigger = uploads.watch(engine).trigger
    for number in range(40):
        uploads.put(f"{number}.jpg", b"%d" % number)
    events = [as_event(info) for info in uploads.storage.list(BUCKET, uploads.prefix)]
    start = threading.Barrier(4)

    def work() -> Accepted:
        start.wait()
        return take(Reception(engine, uploads.storage, OWNER), trigger, events)

    with ThreadPoolExecutor(4) as pool:
        counts = [pool.submit(work) for _ in range(4)]
    assert sum((count.result() for count in counts), Accepted()) == Accepted(accepted=40, known=120)
