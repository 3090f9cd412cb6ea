"""What became of batches: `status`, `watch`, `results`."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click
from sqlalchemy import Engine

from cli.exits import UsageFault
from cli.fleet import open_database, services
from cli.progress import describe, exit_code
from cli.progress import watch as watch_batch
from cli.summary import show_summary
from cli.terminal import emit, say
from clients.storage import Storage
from models import DEFAULT_ACCOUNT
from models.progress import BatchView, count_lone_jobs, find_batch, list_batches, read_batch
from models.results import finished_jobs
from models.states import JobState
from producer.results import download_results
from settings import Settings


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
@click.option("--json", "as_json", is_flag=True, help="The batch object of the HTTP API.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Batches to list.")
def status(batch: str | None, as_json: bool, limit: int) -> None:
    """Show one BATCH, or list the newest."""
    if batch is None:
        with services(with_workers=False) as settings, open_database(settings).connect() as connection:
            for view in list_batches(connection, DEFAULT_ACCOUNT, limit=limit):
                if as_json:
                    emit(view.as_json())
                else:
                    click.echo(f"{view.slug:40} {view.status:22} {describe(view)}")
            if not as_json and (lone := count_lone_jobs(connection, DEFAULT_ACCOUNT)):
                counts = ", ".join(f"{lone[state]} {state}" for state in JobState if state in lone)
                click.echo(f"{'(jobs without a batch)':40} {'':22} {counts}")
        return
    with found_batch(batch) as (_, engine, batch_id):
        view = read_view(engine, batch_id)
    if as_json:
        emit(view.as_json())
    else:
        show_summary(view)


@click.command()
@click.argument("batch", required=False)
@click.option("--json", "as_json", is_flag=True)
def watch(batch: str | None, as_json: bool) -> int:
    """Follow BATCH (the newest without a name) until it has finished."""
    with found_batch(batch, with_workers=True) as (_, engine, batch_id):
        view = watch_batch(engine, batch_id)
    show_summary(view)
    if as_json:
        emit(view.as_json())
    return exit_code(view)


@click.command()
@click.argument("batch", required=False)
@click.option("--jsonl", type=click.File("w", lazy=True), help="A line a job, `-` for stdout.")
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="Download the pictures.")
def results(batch: str | None, jsonl: IO[str] | None, folder: Path | None) -> None:
    """Fetch what BATCH has finished; also while it runs. Without options: result lines on stdout."""
    with found_batch(batch) as (settings, engine, batch_id):
        if folder is not None:
            files = list(download_results(engine, Storage.from_settings(settings), batch_id, folder))
            say(f"{len(files)} files in {folder}", style="green")
        if jsonl is None and folder is not None:
            return
        with engine.connect() as connection:
            for job in finished_jobs(connection, batch_id):
                click.echo(json.dumps(job.as_json(), ensure_ascii=False), file=jsonl)
