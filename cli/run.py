"""`photabatch run`: photos in, finished photos out."""

import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import click
from sqlalchemy import Engine

from cli.canary import run_canary
from cli.exits import UsageFault
from cli.fleet import load_settings, open_database, services
from cli.lining_up import lined_up, show_lineup
from cli.manifests import is_manifest_run, run_manifest
from cli.manner import (
    Manner,
    attended,
    closed_again,
    command_line,
    earlier_batch,
    refuse_lonely_detach,
    see_through,
    set_going,
)
from cli.orders import Order, check_destination, check_services, check_webhook, confirm, order_of, tell_bill
from cli.progress import bar
from cli.request_options import request_options, selection_options
from cli.terminal import say
from clients.image_inspector import ImageInspector
from clients.phota_requests import Operation
from clients.storage import Storage
from models.inserts import BatchRef
from producer.batches import close_batch, open_batch
from producer.jobs import CheckedJob
from producer.runs.lineup import Entry, Lineup
from producer.runs.upload import Uploader, queue_entries
from producer.submission import insert
from settings import Settings

_INSPECTORS = 2


@click.command()
@click.argument("sources", metavar="SRC...", nargs=-1)
@request_options
@selection_options
@click.option("--count", type=click.IntRange(1, 10_000), default=1, help="generate: how many jobs.")
@click.option("--out", metavar="DEST", help="Folder or s3://bucket/prefix for the results [photabatch-out/NAME].")
@click.option("--sample", type=click.IntRange(1, 1_000), metavar="N", help="First N spread over all, then ask.")
@click.option("--redo", "is_redo", is_flag=True, help="Do again, and pay again, what was done before.")
@click.option("--retry-failed", is_flag=True, help="Go on with this command's newest batch, failed jobs too.")
@click.option("--resume", metavar="BATCH", help="Go on with that batch; the same command finds it by itself.")
@click.option("--skip-invalid", is_flag=True, help="Manifests: leave out lines that are invalid.")
@click.option("--no-preflight", is_flag=True, help="Do not look into the photos first.")
@click.option("--yes", is_flag=True, help="Do not ask before the first charge.")
@click.option("--detach", is_flag=True, help="Return when everything is queued.")
@click.option("--json", "as_json", is_flag=True, help="Print the batch object at the end.")
def run(sources: tuple[str, ...], operation: str | None, **options: Any) -> int:
    """Enhance, edit or generate photos: look, ask, upload, queue, wait, download.

    SRC are folders, files, s3://bucket/prefix or https:// addresses, or one manifest (.jsonl, .csv, or - for standard
    input). What was done before with the same bytes and parameters is skipped. Interrupted? The same command goes on.
    Works on the stack that is up, or starts one for its own duration.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    load_settings()
    names = ("yes", "detach", "resume", "retry_failed", "sample", "skip_invalid", "as_json")
    chosen = {name: options.pop(name) for name in names}
    manner = Manner(**chosen, is_looking=not options.pop("no_preflight"))
    is_redo = options.pop("is_redo")
    if manner.detach:
        refuse_lonely_detach()
    is_manifest = is_manifest_run(sources)
    if manner.sample is not None and (is_manifest or operation == Operation.GENERATE):
        raise UsageFault("--sample is for photos: the jobs of a manifest, or of generate, go in together")
    if is_manifest:
        return run_manifest(sources[0], operation, options, manner, is_redo=is_redo)
    order = order_of(sources, operation, options, is_redo=is_redo)
    with services(with_workers=True) as settings:
        return carry_out(order, settings, manner)


def carry_out(order: Order, settings: Settings, manner: Manner) -> int:
    """Look, ask, queue, wait, download, tell. An interruption at any point is gone on from by the same command."""
    running = Running(order, settings, manner, open_database(settings), Storage.from_settings(settings))
    running.check()
    return running.go()


@dataclass(frozen=True, slots=True)
class Running:
    """A run on services that are there."""

    order: Order
    settings: Settings
    manner: Manner
    engine: Engine
    storage: Storage

    def check(self) -> None:
        """Before anything is queued. Raise CommandError, StorageError."""
        check_webhook(self.order.webhook_url, self.settings)
        check_services(self.settings, self.storage)
        check_destination(self.order.example.output, self.order.folder(""), self.storage)

    def go(self) -> int:
        batch = earlier_batch(self.engine, self.order.run_key, self.manner)
        with closed_again(self.engine, batch):
            return self._go_on(batch)

    def _go_on(self, batch: BatchRef | None) -> int:
        has_photos = bool(self.order.example.params.image_fields)
        takes_more = batch is None or batch.is_open or has_photos  # pictures out of nothing go in together
        if batch is not None:
            is_going = set_going(self.engine, batch, self.order.limits, self.manner, takes_more=takes_more)
            if not (is_going and takes_more):
                with attended(batch):
                    return self._see_through(batch, time.monotonic())
        if not has_photos:
            return self._generate(batch)
        looked = lined_up(
            self.order, engine=self.engine, storage=self.storage, batch=batch, is_looking=self.manner.is_looking
        )
        with looked as (lineup, preflight):
            show_lineup(lineup, preflight, knows_past=True)
            self._ask(preflight.jobs)
            batch = batch or self._opened()
            with attended(batch):
                return self._queue_and_wait(batch, lineup)

    def _ask(self, jobs: int) -> None:
        budget_usd = self.order.limits.budget_usd
        tell_bill(jobs, *self.order.bill(jobs), what=self.order.recipe.operation, budget_usd=budget_usd)
        if jobs:
            confirm(self.settings, yes=self.manner.yes, budget_usd=budget_usd)

    def _opened(self) -> BatchRef:
        with self.engine.begin() as connection:
            return open_batch(
                connection,
                self.order.new_name(),
                priority=self.order.priority,
                limits=self.order.limits,
                webhook_url=self.order.webhook_url,
                run_key=self.order.run_key,
            )

    def _queue_and_wait(self, batch: BatchRef, lineup: Lineup) -> int:
        started = time.monotonic()
        sample = self.manner.sample
        if sample is not None and lineup.to_do > sample:
            self._upload(batch, lineup.spread(sample), sample)
            rest = lineup.to_do - sample
            stopped = run_canary(self.engine, self.storage, batch, self.order, rest, yes=self.manner.yes)
            if stopped is not None:
                say(f"To go on with the rest:\n  {command_line('--sample')}")
                say(f"To leave it at that: photabatch cancel {batch.slug}")
                return stopped
        self._upload(batch, lineup, lineup.entries)
        self._close(batch)
        return self._see_through(batch, started)

    def _generate(self, batch: BatchRef | None) -> int:
        self._ask(self.order.count)
        batch = batch or self._opened()
        with attended(batch):
            started = time.monotonic()
            with self.engine.begin() as connection:
                insert(connection, self._numbered(), batch=batch)
                close_batch(connection, batch)
            return self._see_through(batch, started)

    def _numbered(self) -> list[CheckedJob]:
        example = self.order.example
        names = (f"{number:04d}" for number in range(1, self.order.count + 1))
        return [replace(example, spec=example.spec.model_copy(update={"custom_id": name})) for name in names]

    def _upload(self, batch: BatchRef, entries: Iterable[Entry], count: int) -> None:
        inspector = ImageInspector(workers=_INSPECTORS)
        uploader = Uploader(self.storage, bucket=self.settings.s3_bucket, inspector=inspector)
        is_redo, recipe = self.order.is_redo, self.order.recipe
        try:
            with bar("Uploading") as progress:
                task = progress.add_task("Uploading", total=count, detail="")
                for done in queue_entries(self.engine, uploader, entries, recipe, batch, is_redo=is_redo):
                    progress.advance(task, done)
        finally:
            inspector.close()

    def _close(self, batch: BatchRef) -> None:
        with self.engine.begin() as connection:
            close_batch(connection, batch)

    def _see_through(self, batch: BatchRef, started: float) -> int:
        folder = self.order.folder(batch.name)
        seconds = time.monotonic() - started
        return see_through(self.engine, self.storage, batch, folder, self.manner, seconds=seconds)
