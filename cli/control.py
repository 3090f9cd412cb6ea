"""What people do to a batch: `pause`, `resume`, `cancel`, `retry`."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal

import click
from sqlalchemy import Connection, Engine

from cli import wording
from cli.exits import CommandError, Exit, UsageFault
from cli.request_options import Money
from cli.status import found_batch, read_view
from cli.terminal import emit, say
from models.generations import FailureGroup, failure_groups
from models.progress import BatchView
from models.states import JobState
from producer import QueueFull
from producer.batches import (
    BatchError,
    BudgetReached,
    NoSuchBatch,
    Retried,
    cancel_batch,
    pause_batch,
    resume_batch,
    retry_batch,
)

_JSON = click.option("--json", "as_json", is_flag=True, help="Print the batch object.")


@click.command()
@click.argument("batch")
@_JSON
def pause(batch: str, as_json: bool) -> int:
    """Let nothing more of BATCH begin until `resume`; what is paid for is still collected."""
    with found_batch(batch) as (_, engine, batch_id):
        before = read_view(engine, batch_id)
        with _changing(engine, before) as connection:
            pause_batch(connection, batch_id)
        view = read_view(engine, batch_id)
    word = "was paused already" if before.paused_reason else "is paused"
    waiting = wording.jobs(view.counts[JobState.QUEUED])
    say(f"{view.slug} {word} ({wording.pause_reason(view)}): {waiting} left, {_collected(view)}.")
    say(f"To go on: photabatch resume {view.slug}")
    return _done(view, as_json=as_json)


@click.command()
@click.argument("batch")
@click.option("--budget", type=Money(), metavar="USD", help="A new one; needed where the old one is reached.")
@_JSON
def resume(batch: str, budget: Decimal | None, as_json: bool) -> int:
    """Let a paused BATCH go on."""
    with found_batch(batch) as (_, engine, batch_id):
        before = read_view(engine, batch_id)
        with _changing(engine, before) as connection:
            resume_batch(connection, batch_id, budget_usd=budget)
        view = read_view(engine, batch_id)
    word = "goes on" if before.paused_reason else "was not paused"
    say(f"{view.slug} {word}: {wording.jobs(view.unfinished)} left.")
    say(f"Follow it: photabatch watch {view.slug}")
    return _done(view, as_json=as_json)


@click.command()
@click.argument("batch")
@_JSON
def cancel(batch: str, as_json: bool) -> int:
    """Stop BATCH: what Phota was not called for is cancelled, what is paid for is still collected."""
    with found_batch(batch) as (_, engine, batch_id):
        with _changing(engine, read_view(engine, batch_id)) as connection:
            done = cancel_batch(connection, batch_id)
        view = read_view(engine, batch_id)
    say(f"{view.counts['cancelled']} cancelled; {done.in_flight} in Phota's hands are still collected.")
    return _done(view, as_json=as_json, in_flight=done.in_flight)


@click.command()
@click.argument("batch")
@click.option("--code", help="Only what failed with this code; also what was rejected with it.")
@click.option("--pay-again", is_flag=True, help="Call anew also what nothing free can be done for.")
@_JSON
def retry(batch: str, code: str | None, pay_again: bool, as_json: bool) -> int:
    """Try again what failed or expired in BATCH; what is paid for is fetched again, never paid again."""
    with found_batch(batch) as (_, engine, batch_id):
        before = read_view(engine, batch_id)
        groups = _show_failures(engine, batch_id)
        with _changing(engine, before) as connection:
            done = retry_batch(connection, batch_id, code=code, pay_again=pay_again)
        view = read_view(engine, batch_id)
    _show_retried(view, done, groups, code)
    numbers = {"retried": done.retried, "collected_again": done.collected_again, "left": done.left}
    is_something = bool(done.retried or done.collected_again)
    return _done(view, as_json=as_json, **numbers) if is_something else _nothing(view, as_json=as_json, **numbers)


def _show_failures(engine: Engine, batch_id: uuid.UUID) -> list[FailureGroup]:
    with engine.connect() as connection:
        groups = failure_groups(connection, batch_id)
    for group in groups:
        say(f"  {group.count} × {group.code}: {group.message}", style="red")
    return groups


def _show_retried(view: BatchView, done: Retried, groups: Sequence[FailureGroup], code: str | None) -> None:
    if code is not None and code not in {group.code for group in groups}:
        there = ", ".join(f"{group.code} ({group.count})" for group in groups) or "none"
        say(f"No job of {view.slug} failed with the code {code}; codes are: {there}.")
        return
    if not groups:
        say(f"No job of {view.slug} failed or expired.")
        return
    say(f"{done.retried} called anew, {done.collected_again} collected again without a second charge.")
    if done.left:
        say(
            f"{_listed(done.left)} left: perhaps charged, and too old to be asked for again, or the same is under way.",
            style="yellow",
        )
        say("To call them anew, perhaps at a second charge:")
        for code in done.left:
            say(f"  photabatch retry {view.slug} --code {code} --pay-again")
    if done.refused:
        say(f"{_listed(done.refused)} left: refused before they were queued; correct and submit them.", style="yellow")
    if not done.retried and not done.collected_again:
        say(f"Nothing of {view.slug} was retried. What was rejected is retried only by its --code.")
    elif view.paused_reason:
        say(f"It is paused ({wording.pause_reason(view)}). To go on: photabatch resume {view.slug}")
    else:
        say(f"Follow it: photabatch watch {view.slug}")


def _listed(jobs_by_code: Mapping[str, int]) -> str:
    return ", ".join(f"{jobs} × {code}" for code, jobs in jobs_by_code.items())


def _collected(view: BatchView) -> str:
    moving = (JobState.SUBMITTING, JobState.RUNNING, JobState.STORING)
    return f"{sum(view.counts[state] for state in moving)} in Phota's hands are still collected"


@contextmanager
def _changing(engine: Engine, view: BatchView) -> Iterator[Connection]:
    """A transaction, whose refusals end the command with the contract's exit code."""
    try:
        with engine.begin() as connection:
            yield connection
    except BudgetReached as error:
        hint = f"To go on: photabatch resume {view.slug} --budget USD"
        raise CommandError(f"{view.slug}: {error}.\n{hint}", Exit.BUDGET) from None
    except QueueFull as error:
        raise CommandError(f"{view.slug}: {error}; try again when some are done", Exit.TEMPORARY) from None
    except NoSuchBatch:
        raise UsageFault(f"{view.slug}: no such batch any more") from None
    except BatchError as error:
        raise CommandError(f"{view.slug}: {error}", Exit.NOTHING_TO_DO) from None


def _done(view: BatchView, *, as_json: bool, **more: object) -> int:
    if as_json:
        emit(view.as_json() | more)
    return Exit.SUCCEEDED


def _nothing(view: BatchView, *, as_json: bool, **more: object) -> int:
    _done(view, as_json=as_json, **more)
    return Exit.NOTHING_TO_DO
