"""`run --sample N`: some photos first, spread over the set, and a look at what they came to."""

import sys
import time
from itertools import islice
from pathlib import Path

import click
from sqlalchemy import Engine

from cli.exits import Exit
from cli.orders import RESULTS, Order
from cli.progress import describe, exit_code, follow
from cli.terminal import say
from clients.storage import Storage
from models.inserts import BatchRef
from models.progress import BatchView
from models.results import finished_jobs
from models.states import JobState
from producer.results.sheet import write_sheet
from settings import get_settings

_TOLERATED = 0.5  # of a sample that may fail where --max-failure-rate does not say, and nobody is asked


def run_canary(engine: Engine, storage: Storage, batch: BatchRef, order: Order, rest: int, *, yes: bool) -> Exit | None:
    """Wait for what is queued so far, show cost, failures and the contact sheet; None to go on with the rest."""
    view = _ended(engine, batch)
    failed = view.counts[JobState.FAILED] + view.counts[JobState.REJECTED]
    succeeded = view.counts[JobState.SUCCEEDED]
    say(f"Sample: {succeeded} succeeded, {failed} failed, ${view.spent_usd:.2f} spent", style="bold")
    for error in view.errors:
        say(f"  {error['count']} × {error['code']}: {error['message']}", style="red")
    if succeeded:
        say(f"Contact sheet, before and after: {_sheet(engine, storage, batch, view)}", style="green")
        each = view.spent_usd / (succeeded + failed)
        most = order.bill(rest)[1]
        say(f"The other {rest} would cost about ${each * rest:.2f} at what these did (at most ${most:.2f}).")
    return _stopped(view, failed, succeeded, order, rest, yes=yes)


def _stopped(view: BatchView, failed: int, succeeded: int, order: Order, rest: int, *, yes: bool) -> Exit | None:
    if view.paused_reason is not None:
        say(f"It is paused ({view.paused_reason}); photabatch resume {view.slug} lets it go on.", style="yellow")
        return exit_code(view)
    if view.unfinished:
        say(f"The sample is not done: {describe(view)}", style="yellow")
        return exit_code(view)
    if not yes:
        is_wanted = sys.stdin.isatty() and click.confirm(f"Go on with the other {rest}?", err=True)
        return None if is_wanted else Exit.SOME_FAILED if failed else Exit.SUCCEEDED
    tolerated = _TOLERATED if order.limits.max_failure_rate is None else order.limits.max_failure_rate
    if failed > tolerated * (failed + succeeded):
        say(f"Too many of them failed ({failed} of {failed + succeeded}): stopped.", style="red")
        return Exit.SOME_FAILED
    return None


def _ended(engine: Engine, batch: BatchRef) -> BatchView:
    """The batch once nothing of it is under way; it stays open for the rest."""
    told_at = 0.0
    for view, upstream in follow(engine, batch.id):
        if not view.unfinished:
            break
        if time.monotonic() - told_at > 5:
            told_at = time.monotonic()
            say(f"Sample {view.finished}/{view.counts['total']} {describe(view, upstream)}")
    return view


def _sheet(engine: Engine, storage: Storage, batch: BatchRef, view: BatchView) -> Path:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{batch.slug}-sample.html"
    with engine.connect() as connection:
        jobs = list(islice(finished_jobs(connection, batch.id), 1_000))
    write_sheet(path, batch=view, jobs=jobs, storage=storage, is_simulated=get_settings().is_simulated)
    return path
