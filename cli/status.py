"""What became of batches: `status`, `watch`."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from sqlalchemy import Connection, Engine

from cli.exits import UsageFault
from cli.fleet import open_database, services
from cli.progress import describe, exit_code
from cli.progress import watch as watch_batch
from cli.summary import show_summary
from cli.terminal import emit
from models import DEFAULT_ACCOUNT
from models.jobs import JobView, list_jobs, list_lone_jobs
from models.progress import BatchView, count_lone_jobs, find_batch, list_batches, read_batch
from models.states import JobState
from settings import Settings

_LONE = "(jobs without a batch)"


@contextmanager
def found_batch(word: str | None, *, with_workers: bool = False) -> Iterator[tuple[Settings, Engine, uuid.UUID]]:
    """The services, and the batch of that id or name; without a word the newest."""
    with services(with_workers=with_workers) as settings:
        engine = open_database(settings)
        with engine.connect() as connection:
            batch_id = find_batch(connection, DEFAULT_ACCOUNT, word)
        if batch_id is None:
            raise UsageFault(f"{word}: no such batch; `photabatch status` lists them" if word else "No batches yet.")
        yield settings, engine, batch_id


def read_view(engine: Engine, batch_id: uuid.UUID) -> BatchView:
    with engine.connect() as connection:
        batch = read_batch(connection, batch_id)
    assert batch is not None, "found a moment ago"  # noqa: S101
    return batch


@click.command()
@click.argument("batch", required=False)
@click.option("--jobs", "with_jobs", is_flag=True, help="Its jobs instead; without BATCH the newest that have none.")
@click.option("--json", "as_json", is_flag=True, help="The objects of the HTTP API, one a line.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Batches or jobs to list.")
def status(batch: str | None, with_jobs: bool, as_json: bool, limit: int) -> None:
    """Show one BATCH, or list the newest."""
    if batch is None:
        with services(with_workers=False) as settings, open_database(settings).connect() as connection:
            if with_jobs:
                _show_jobs(list_lone_jobs(connection, DEFAULT_ACCOUNT, limit=limit), as_json=as_json)
            else:
                _show_batches(connection, limit, as_json=as_json)
        return
    with found_batch(batch) as (_, engine, batch_id):
        if with_jobs:
            with engine.connect() as connection:
                _show_jobs(list_jobs(connection, DEFAULT_ACCOUNT, batch_id, limit=limit), as_json=as_json)
            return
        view = read_view(engine, batch_id)
    if as_json:
        emit(view.as_json())
    else:
        show_summary(view)


def _show_batches(connection: Connection, limit: int, *, as_json: bool) -> None:
    views = list_batches(connection, DEFAULT_ACCOUNT, limit=limit, with_errors=True)
    if as_json:
        for view in views:
            emit(view.as_json())
        return
    lone = count_lone_jobs(connection, DEFAULT_ACCOUNT)
    width = max((len(name) for name in (_LONE, *(view.slug for view in views))), default=0)
    for view in views:
        commonest = "".join(f"; {error['count']} × {error['code']}" for error in view.errors[:1])
        click.echo(f"{view.slug:{width}} {view.status:22} {describe(view)}{commonest}")
    if lone:
        counts = ", ".join(f"{lone[state]} {state}" for state in JobState if state in lone)
        click.echo(f"{_LONE:{width}} {'':22} {counts}: photabatch status --jobs")


def _show_jobs(jobs: Sequence[JobView], *, as_json: bool) -> None:
    for job in jobs:
        if as_json:
            emit(job.as_json())
            continue
        fault = f"{job.error_code}: {job.error_message}" if job.error_code else ""
        click.echo(f"{job.id}  {job.state:10} {job.operation:8} {job.custom_id or ''}  {fault}".rstrip())


@click.command()
@click.argument("batch", required=False)
@click.option("--json", "as_json", is_flag=True)
def watch(batch: str | None, as_json: bool) -> int:
    """Follow BATCH (the newest without a name) until it has finished, or stops until somebody or the clock helps."""
    with found_batch(batch, with_workers=True) as (_, engine, batch_id):
        view = watch_batch(engine, batch_id)
    show_summary(view)
    if as_json:
        emit(view.as_json())
    return exit_code(view)
