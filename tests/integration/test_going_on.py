"""The same command once more: under the limits that it names now, and without a batch that never ends."""

import uuid
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import click
import pytest
from sqlalchemy import Engine, text

from cli.manifests import checked
from cli.manner import Manner, closed_again, set_going
from cli.wording import counted
from clients.phota_requests import Operation, Problem
from models.inserts import BatchRef, get_batch
from models.progress import BatchView, read_batch
from producer.batches import BatchLimits, cancel_batch, close_batch, open_batch, pause_batch, retry_batch
from producer.content import with_content
from producer.manifests.bulk import Queued, queue_spooled
from producer.ownership import OPERATOR, Owner, QueueFull, Room
from producer.recipes import Recipe
from producer.runs.lineup import Entry
from producer.runs.preflight import Kind
from producer.runs.upload import Refused, Uploader, queue_entries
from producer.sources.photos import Address, Photo, Picture
from producer.submission import BatchClosed, insert
from settings import Settings
from tests.integration.conftest import add_batch, photo
from tests.integration.ended_jobs import settle_all, succeed
from worker.admit import admit

JOB_USD = Decimal("0.12")


def view(engine: Engine, batch: BatchRef) -> BatchView:
    with engine.connect() as connection:
        found = read_batch(connection, batch.id)
    assert found is not None
    return found


def complete(engine: Engine, batch: BatchRef) -> BatchRef:
    """As a run that has queued everything leaves it."""
    with engine.begin() as connection:
        close_batch(connection, batch)
        found = get_batch(connection, batch.id)
    assert found is not None
    return found


def test_the_budget_that_is_named_now_holds(engine: Engine) -> None:
    batch = add_batch(engine, 3)
    assert set_going(engine, batch, BatchLimits(budget_usd=JOB_USD), Manner())
    assert view(engine, batch).budget_usd == JOB_USD
    assert set_going(engine, batch, BatchLimits(max_failure_rate=0.5), Manner())
    assert (view(engine, batch).budget_usd, view(engine, batch).max_failure_rate) == (JOB_USD, 0.5)


def test_a_new_budget_does_not_undo_the_pause_of_a_person(engine: Engine) -> None:
    batch = add_batch(engine, 3)
    with engine.begin() as connection:
        pause_batch(connection, batch.id)
    assert set_going(engine, batch, BatchLimits(budget_usd=JOB_USD), Manner())
    assert (view(engine, batch).paused_reason, view(engine, batch).budget_usd) == ("user", JOB_USD)


@pytest.mark.parametrize("fault", [click.Abort, KeyboardInterrupt])
def test_who_declines_to_go_on_leaves_a_complete_batch_complete(engine: Engine, fault: type[BaseException]) -> None:
    batch = complete(engine, add_batch(engine, 1))
    was_open = False
    with suppress(fault), closed_again(engine, batch):
        assert set_going(engine, batch, BatchLimits(), Manner())
        was_open = view(engine, batch).is_filling
        raise fault
    assert was_open
    assert not view(engine, batch).is_filling


def test_a_batch_that_is_still_filled_stays_open(engine: Engine) -> None:
    batch = add_batch(engine, 1)
    with pytest.raises(KeyboardInterrupt), closed_again(engine, batch):
        raise KeyboardInterrupt
    assert view(engine, batch).is_filling


def test_a_batch_that_nobody_fills_any_more_is_ended_by_cancel(engine: Engine) -> None:
    batch = add_batch(engine, 1)
    with engine.connect() as connection:
        job_id = connection.execute(text("SELECT id FROM jobs")).scalar_one()
    succeed(engine, job_id)
    settle_all(engine)
    assert view(engine, batch).is_filling
    with engine.begin() as connection:
        cancel_batch(connection, batch.id)
    settle_all(engine)
    assert (view(engine, batch).status, counted(view(engine, batch))) == ("cancelled", "1 succeeded")


def digest(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines))
    with checked(str(path), {}, Owner(OPERATOR, "photabatch"), is_redo=False) as manifest:
        return manifest.digest


def test_manifests_of_other_words_are_other_runs(tmp_path: Path) -> None:
    path = tmp_path / "words.jsonl"
    line = '{"operation": "generate", "params": {"prompt": "a %s"}}'
    assert digest(path, line % "cat") == digest(path, line % "cat")
    assert digest(path, line % "cat") != digest(path, line % "dog")


@pytest.fixture
def spooled(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "three.jsonl"
    path.write_text(
        "".join(f'{{"operation": "enhance", "params": {{"image": "s3://photos/{each}.jpg"}}}}\n' for each in "abc")
    )
    with checked(str(path), {}, Owner(OPERATOR, "photabatch"), is_redo=False) as manifest:
        yield manifest.spool


@pytest.mark.parametrize(("limit", "fits"), [(1, True), (0, False)])
def test_what_was_done_before_takes_no_room(engine: Engine, spooled: Any, limit: int, *, fits: bool) -> None:
    for each in "ab":
        with engine.begin() as connection:
            job = with_content(photo(None, params={"image": f"s3://photos/{each}.jpg"}))
            (done,) = insert(connection, [job])
        succeed(engine, done.id, key=f"{each}.jpg")
    account = replace(OPERATOR, queue_limit=limit)
    with pytest.raises(QueueFull) if not fits else nullcontext(), engine.begin() as connection:
        batch = open_batch(connection, "three")
        queued = queue_spooled(connection, spooled, batch, Owner(account, "photabatch"), Room(connection, account))
        assert queued == Queued(3, 0, 2)


def test_nothing_is_linked_in_a_batch_that_takes_no_more(engine: Engine) -> None:
    address = "https://example.com/1.jpg"
    with engine.begin() as connection:
        (done,) = insert(connection, [with_content(photo(None, params={"image": address}))])
    succeed(engine, done.id)
    batch = complete(engine, add_batch(engine, 1))
    entry = Entry(Address(address), Kind.DONE_BEFORE, key_of(engine, done.id))
    recipe, nobody = Recipe(Operation.ENHANCE, {}), cast(Uploader, None)
    with pytest.raises(BatchClosed):
        list(queue_entries(engine, nobody, [entry], recipe, batch))
    assert view(engine, batch).counts["total"] == 1


class Refusing:
    """Every photo turns out to be damaged when it is read to its end."""

    def upload(self, picture: Picture, _recipe: Recipe, **_: object) -> Refused:
        return Refused(picture, Problem("image", "image_damaged", "no"))


def test_a_photo_that_was_refused_is_refused_once(engine: Engine) -> None:
    batch, nobody = add_batch(engine, 0), cast(Uploader, Refusing())
    entries = [Entry(Photo(Path("a/1.jpg"), "1.jpg"), Kind.READY, "a" * 64)]
    for _ in range(2):
        list(queue_entries(engine, nobody, entries, Recipe(Operation.ENHANCE, {}), batch))
    assert view(engine, batch).counts["total"] == 1


def key_of(engine: Engine, job_id: uuid.UUID) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(text("SELECT content_key FROM jobs WHERE id = :id"), {"id": job_id}))


@pytest.mark.parametrize("poll_url", ["https://phota/jobs/r", None])
def test_a_retry_asks_for_nothing_that_was_done_meanwhile(engine: Engine, poll_url: str | None) -> None:
    """Neither the second call of one that may have been charged, nor a paid result that nobody needs any more."""
    batch = add_batch(engine, 0)
    with engine.begin() as connection:
        same = [with_content(photo(name), ["sha256:a"]) for name in ("1", "2")]
        failed, other = insert(connection, same, batch=batch)
        connection.execute(
            text(
                "UPDATE jobs SET state = 'failed', due_at = NULL, finished_at = now(), error_code = 'gone', "
                "cost_usd = 0.12, requested_at = now(), poll_url = :poll_url WHERE id = :id"
            ),
            {"id": failed.id, "poll_url": poll_url},
        )
    succeed(engine, other.id)
    with engine.begin() as connection:
        retry_batch(connection, batch.id)
        assert admit(connection, Settings(concurrency=9)) == []
    counts = view(engine, batch).counts
    assert (counts["succeeded"], counts["skipped"], view(engine, batch).spent_usd) == (1, 1, 2 * JOB_USD)
