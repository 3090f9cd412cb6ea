"""`photabatch demo`: the main job end to end, on this machine, with everything it touches shown."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Engine, text

from cli.exits import CommandError, Exit, UsageFault
from cli.fleet import load_settings, local_fleet, open_database
from cli.manner import Manner
from cli.orders import Order, order_of
from cli.receiver import Receiver
from cli.run import carry_out
from cli.terminal import say
from clients.storage import Storage
from models import DEFAULT_ACCOUNT
from models.progress import find_batch, read_batch
from models.results import finished_jobs
from producer.results.sheet import write_sheet
from sandbox.samples import write_samples
from settings import Settings

_EVENT_S = 15.0  # the webhook's own time limit


@click.command()
@click.argument("photos", required=False, type=click.Path(path_type=Path))
@click.option(
    "--op", "operation", type=click.Choice(("enhance", "edit", "generate")), default="enhance", show_default=True
)
@click.option("--prompt", help="For edit and generate.")
@click.option("--count", type=click.IntRange(1), default=12, show_default=True, help="Sample photos, or pictures.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the results.")
@click.option("--json", "as_json", is_flag=True, help="Print the batch object at the end.")
def demo(photos: Path | None, operation: str, prompt: str | None, count: int, out: Path | None, as_json: bool) -> int:
    """Finish PHOTOS (or sample photos of its own) on an embedded stack, with a signed webhook at the end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    settings = load_settings()
    photos = photos and photos.expanduser()  # few shells do it behind the = of `make demo PHOTOS=~/trip`
    if operation != "generate" and photos is None:
        photos = settings.home / "samples"
        say(f"Making {count} sample photos in {photos}")
        write_samples(photos, count)
    order = _order(photos, operation, prompt, count, out)
    say(f"{operation}: starting Postgres, Valkey, S3, dispatcher and workers", style="bold")
    with local_fleet(settings, workers=2) as local:
        return _show(order, local, as_json=as_json)


def _order(photos: Path | None, operation: str, prompt: str | None, count: int, out: Path | None) -> Order:
    """Done anew each time: a demonstration in which everything was done before shows nothing."""
    if operation == "edit" and prompt is None:
        prompt = "warm evening light"
    if operation == "generate" and prompt is None:
        raise UsageFault("generate needs --prompt")
    options: dict[str, Any] = {"prompt": prompt, "count": count, "out": str(out) if out else None}
    order = order_of([str(photos)] if photos and operation != "generate" else [], operation, options, is_redo=True)
    return replace(order, name=order.new_name())


def _write_sheet(engine: Engine, path: Path, settings: Settings) -> None:
    with engine.connect() as connection:
        batch_id = find_batch(connection, DEFAULT_ACCOUNT, None)
        batch = read_batch(connection, batch_id) if batch_id else None
        jobs = list(finished_jobs(connection, batch_id)) if batch_id else []
    if batch is not None:
        storage = Storage.from_settings(settings)
        write_sheet(path, batch=batch, jobs=jobs, storage=storage, is_simulated=settings.is_simulated)
        say(f"Contact sheet, before and after: {path}", style="green")


def _show(order: Order, settings: Settings, *, as_json: bool) -> int:
    engine = open_database(settings)
    with engine.connect() as connection:
        secret = connection.scalar(text("SELECT webhook_secret FROM accounts WHERE name = 'default'"))
    with Receiver(str(secret)) as receiver:
        code = carry_out(replace(order, webhook_url=receiver.url), settings, Manner(as_json=as_json))
        event = receiver.wait_for_end(_EVENT_S)
    if folder := order.folder(order.new_name()):
        _write_sheet(engine, folder / "contact-sheet.html", settings)
    if event is None:
        raise CommandError("The batch ended, but its webhook has not arrived.", Exit.TEMPORARY)
    say(f"Webhook {event['type']} received, signature valid", style="green")
    return code
