"""How a run goes about it once its jobs are queued: followed, fetched, summed up; and gone on with another time."""

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from sqlalchemy import Engine

from cli.exits import CommandError, Exit, UsageFault
from cli.fleet import is_complete, load_settings
from cli.progress import exit_code, watch
from cli.summary import show_summary
from cli.terminal import emit, say
from cli.wording import foreseen, jobs
from clients.storage import Storage
from models import DEFAULT_ACCOUNT, JobState
from models.contents import find_run, open_again
from models.inserts import BatchRef, get_batch
from models.progress import find_batch, read_batch
from producer.batches import (
    BatchError,
    BatchLimits,
    BudgetReached,
    close_batch,
    limit_batch,
    resume_batch,
    retry_batch,
)
from producer.results.downloads import OutputsLost, download_results
from producer.submission import BatchClosed
from sandbox.stack import read_running


@dataclass(frozen=True, slots=True)
class Manner:
    """`resume`: a batch by name; `sample`: so many first, spread over all; `is_looking`: into the photos, before."""

    yes: bool = False
    detach: bool = False
    resume: str | None = None
    retry_failed: bool = False
    sample: int | None = None
    is_looking: bool = True
    skip_invalid: bool = False
    as_json: bool = False


def refuse_lonely_detach(what: str = "--detach") -> None:
    """Raise UsageFault where nobody would work on what is left behind."""
    settings = load_settings()
    if not is_complete(settings) and read_running(settings.home) is None:
        raise UsageFault(f"{what} needs a stack that goes on by itself: start `photabatch up` first")


def earlier_batch(engine: Engine, run_key: str, manner: Manner) -> BatchRef | None:
    """The one that this command goes on with: named, or its own that has not ended; with --retry-failed its newest.

    Raise UsageFault.
    """
    with engine.connect() as connection:
        if manner.resume:
            batch_id = find_batch(connection, DEFAULT_ACCOUNT, manner.resume)
        else:
            batch_id = find_run(connection, DEFAULT_ACCOUNT, run_key, is_any=manner.retry_failed)
        batch = get_batch(connection, batch_id) if batch_id else None
    if batch is None and manner.resume:
        raise UsageFault(f"--resume {manner.resume}: no such batch; `photabatch status` lists them")
    if batch is None and manner.retry_failed:
        raise UsageFault("--retry-failed: this command has no batch yet; `photabatch retry BATCH` takes any")
    if batch is not None:
        say(f"Going on with {batch.slug}.")
    return batch


def set_going(engine: Engine, batch: BatchRef, limits: BatchLimits, manner: Manner, *, takes_more: bool = True) -> bool:
    """Retry what failed (also where that many failed that it paused), and let jobs join again; False if it has ended.

    The limits that are given now take the place of its own. `takes_more`: whether jobs may be missing; a batch that is
    complete is left closed. Raise CommandError.
    """
    try:
        with engine.begin() as connection:
            if manner.retry_failed:
                done = retry_batch(connection, batch.id)
                say(f"{done.retried} called anew, {done.collected_again} collected again without a second charge.")
            view = read_batch(connection, batch.id)
            if view is None or view.status.is_final or (takes_more and not open_again(connection, batch.id)):
                return False
            if view.paused_reason == "budget" and limits.budget_usd is not None:
                resume_batch(connection, batch.id, budget_usd=limits.budget_usd)
            if view.paused_reason == "failure_rate" and manner.retry_failed:
                resume_batch(connection, batch.id)
            limit_batch(connection, batch.id, limits)
            return True
    except BudgetReached as error:
        raise CommandError(f"{batch.slug}: {error}", Exit.BUDGET) from None
    except BatchError as error:
        raise CommandError(f"{batch.slug}: {error}", Exit.NOTHING_TO_DO) from None


@contextmanager
def closed_again(engine: Engine, batch: BatchRef | None) -> Iterator[None]:
    """If the block is left by an error, a batch that was complete before is so again: else it would never end."""
    try:
        yield
    except BaseException:
        if batch is not None and not batch.is_open:
            with engine.begin() as connection:
                close_batch(connection, batch)
        raise


@contextmanager
def attended(batch: BatchRef) -> Iterator[None]:
    """Tells how to go on if the block is interrupted, or gives up. Raise click.exceptions.Exit, CommandError."""
    try:
        yield
    except BatchClosed as error:
        raise CommandError(f"{error}: it was cancelled or closed meanwhile.", Exit.SOME_FAILED) from None
    except (KeyboardInterrupt, CommandError) as error:
        say(f"\nTo go on with {batch.slug}, without paying anything twice:\n  {command_line()}", style="yellow")
        if isinstance(error, KeyboardInterrupt):
            raise click.exceptions.Exit(Exit.INTERRUPTED) from None
        raise


def see_through(
    engine: Engine, storage: Storage, batch: BatchRef, folder: Path | None, manner: Manner, *, seconds: float
) -> int:
    """Follow a batch to its end, fetch what it brought forth, and sum up; the exit code. `seconds` so far."""
    if manner.detach:
        say(f"Queued as {batch.slug}. Follow it: photabatch watch {batch.slug}")
        with engine.connect() as connection:
            queued = read_batch(connection, batch.id)
        assert queued is not None, "queued a moment ago"  # noqa: S101
        if outlook := foreseen(queued):
            late = queued.forecast is not None and queued.forecast.meets_deadline is False
            say(f"It {outlook}, at what was measured lately.", style="yellow" if late else None)
        if manner.as_json:
            emit(queued.as_json())
        return Exit.SUCCEEDED
    began = time.monotonic()
    view = watch(engine, batch.id)
    files = 0 if folder is None else _download(engine, storage, batch, folder)
    show_summary(view, files=files, folder=folder, seconds=seconds + time.monotonic() - began)
    if folder is None and (skipped := view.counts[JobState.SKIPPED]):
        say(f"Results of {jobs(skipped)} lie where an earlier run put them: photabatch results {batch.slug} --jsonl -")
    if manner.as_json:
        emit(view.as_json())
    return exit_code(view)


def _download(engine: Engine, storage: Storage, batch: BatchRef, folder: Path) -> int:
    """How many files. Raise CommandError for what cannot be fetched or written; all others are there then."""
    try:
        return sum(1 for _ in download_results(engine, storage, batch.id, folder))
    except OutputsLost as error:
        raise CommandError(f"{error}\nAll others are in {folder}.", Exit.SOME_FAILED) from None
    except OSError as error:
        raise CommandError(f"{error.filename or folder}: {error.strerror or error}", Exit.USAGE) from None


def command_line(*without: str) -> str:
    """As it was typed, without some of its options (and their values)."""
    words = sys.argv[1:]
    for option in without:
        if option in words:
            del words[words.index(option) : words.index(option) + 2]
        words = [word for word in words if not word.startswith(f"{option}=")]
    return shlex.join(["photabatch", *words])
