"""`photabatch run`: photos in, finished photos out."""

import asyncio
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Engine

from cli.exits import CannotStart, CommandError, Exit, UsageFault
from cli.fleet import is_complete, load_settings, open_database, services
from cli.progress import bar, exit_code, watch
from cli.request_options import check_addresses, recipe_of, request_options
from cli.summary import show_summary
from cli.terminal import emit, say
from clients.http import new_http_client
from clients.image_inspector import ImageInspector
from clients.phota import PhotaClient, PhotaError
from clients.phota_errors import GateClosed
from clients.s3_uri import S3Uri
from clients.storage import Storage
from models import DEFAULT_ACCOUNT, Priority
from models.inserts import BatchRef, get_batch
from models.progress import BatchView, find_batch
from models.results import custom_ids
from producer.batches import close_batch, open_batch
from producer.jobs import CheckedJob, webhook_url_fault
from producer.photos import Address, NoSuchSource, Photo, find_pictures
from producer.results import download_results
from producer.submission import BatchClosed, insert
from producer.upload import Recipe, Uploader, upload_and_queue
from sandbox.stack import read_running
from settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that has been checked: nothing is left to be refused but the photos themselves."""

    photos: Sequence[Photo | Address]
    recipe: Recipe
    example: CheckedJob
    count: int  # jobs; that of the photos unless pictures are made from text alone
    name: str
    folder: Path | None  # where results are downloaded to

    @property
    def low_usd(self) -> Decimal:
        return self.example.low_usd * self.count

    @property
    def high_usd(self) -> Decimal:
        return self.example.high_usd * self.count


@click.command()
@click.argument("sources", metavar="SRC...", nargs=-1)
@request_options
@click.option("--count", type=click.IntRange(1, 10_000), default=1, help="generate: how many jobs.")
@click.option("--out", metavar="DEST", help="Folder or s3://bucket/prefix for the results [photabatch-out/NAME].")
@click.option("--resume", metavar="BATCH", help="Go on with an interrupted run; nothing is charged twice.")
@click.option("--yes", is_flag=True, help="Do not ask before the first charge.")
@click.option("--detach", is_flag=True, help="Return when everything is queued.")
@click.option("--json", "as_json", is_flag=True, help="Print the batch object at the end.")
def run(sources: tuple[str, ...], operation: str, **options: Any) -> int:
    """Enhance, edit or generate photos: upload, queue, wait, download.

    SRC are folders, files, https:// or s3://bucket/key addresses. Works on the stack that is up, or starts one for
    its own duration.
    """
    keep = {name: options.pop(name) for name in ("webhook_url", "budget", "priority", "resume", "yes", "detach")}
    as_json = options.pop("as_json")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    is_simulated = load_settings().is_simulated
    plan = make_plan(sources, operation, options, resume=keep["resume"])
    _show_plan(plan, keep["budget"])
    if not keep["yes"] and sys.stdin.isatty() and not is_simulated:
        click.confirm("Start?", abort=True, err=True)
    _refuse_lonely_detach(detach=keep["detach"])
    with services(with_workers=True) as settings:
        return carry_out(plan, settings, as_json=as_json, **keep)


def make_plan(sources: Sequence[str], operation: str, options: dict[str, Any], *, resume: str | None) -> Plan:
    """Check everything that can be checked without a service. Raise UsageFault, or CommandError for nothing to do."""
    name = options.pop("name") or _default_name(sources, operation)
    out, count = options.pop("out"), options.pop("count")
    is_s3 = bool(out) and out.startswith("s3://")
    folder = None if is_s3 else Path(out or Path("photabatch-out") / (resume or name))
    recipe, example = recipe_of(operation, options, output=out if is_s3 else None)
    if operation == "generate":
        if sources:
            raise UsageFault("generate makes pictures from --prompt alone; to change photos use --op edit")
        return Plan((), recipe, example, count, name, folder)
    if not sources:
        raise UsageFault(f"{operation} needs photos: name a folder or files")
    try:
        photos = list(find_pictures(sources, leave_out=folder))
    except NoSuchSource as error:
        raise UsageFault(str(error)) from None
    check_addresses(photos, recipe)
    if not photos:
        raise CommandError(f"No photos in {', '.join(map(str, sources))} (jpg, png, webp, heic).", Exit.NOTHING_TO_DO)
    return Plan(photos, recipe, example, len(photos), name, folder)


def carry_out(
    plan: Plan,
    settings: Settings,
    *,
    webhook_url: str | None = None,
    budget: Decimal | None = None,
    priority: str = "normal",
    resume: str | None = None,
    detach: bool = False,
    as_json: bool = False,
    **_: Any,
) -> int:
    """Queue, wait, download, tell. An interruption at any point can be resumed."""
    engine, storage = open_database(settings), Storage.from_settings(settings)
    check_webhook(webhook_url, settings)
    check_services(settings, storage)
    check_destination(plan, storage)
    started = time.monotonic()
    batch = _resumed(engine, resume) if resume else _opened(engine, plan, webhook_url, budget, priority)
    try:
        _queue(engine, storage, settings, plan, batch)
        if detach:
            say(f"Queued as {batch.slug}. Follow it: photabatch watch {batch.slug}")
            return Exit.SUCCEEDED
        view = watch(engine, batch.id)
        files = _download(engine, storage, batch, plan.folder)
    except BatchClosed as error:
        raise CommandError(f"{error}: it was cancelled or closed meanwhile.", Exit.SOME_FAILED) from None
    except (KeyboardInterrupt, CommandError) as error:
        say(f"\nTo go on, without paying anything twice:\n  {resume_command(batch.slug)}", style="yellow")
        if isinstance(error, KeyboardInterrupt):
            return Exit.INTERRUPTED
        raise
    _finish(view, files, plan.folder, time.monotonic() - started, as_json=as_json)
    return exit_code(view)


def check_webhook(url: str | None, settings: Settings) -> None:
    """Raise UsageFault for an address that nothing could be posted to."""
    fault = webhook_url_fault(url, allowed_hosts=settings.allowed_hosts) if url is not None else None
    if fault is not None:
        raise UsageFault(f"--webhook: {fault}")


def check_services(settings: Settings, storage: Storage) -> None:
    """Before anything is queued: the bucket is there, and Phota takes the key. Raise CannotStart, StorageError."""
    storage.ensure_bucket(settings.s3_bucket)
    if settings.is_simulated or settings.phota_root is None or settings.phota_api_key is None:
        return
    try:
        asyncio.run(_ask_phota(settings.phota_root, settings.phota_api_key.get_secret_value()))
    except GateClosed as error:
        raise CannotStart(f"Phota does not accept the key: {error}\nCheck PHOTA_API_KEY.") from None
    except PhotaError as error:
        if error.http_status == HTTPStatus.NOT_FOUND:
            raise CannotStart(f"No Phota API at {settings.phota_root}; check PHOTABATCH_PHOTA_BASE_URL.") from None
        say(f"Phota does not answer well right now ({error}); jobs wait until it does.", style="yellow")


def check_destination(plan: Plan, storage: Storage) -> None:
    """Before the first charge: results can be put where they should go. Raise StorageError, UsageFault."""
    if plan.example.output is not None:
        target = S3Uri.parse(plan.example.output)
        next(storage.list(target.bucket, "photabatch-was-here"), None)
    if plan.folder is not None:
        try:
            plan.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageFault(f"--out {plan.folder}: {error.strerror}") from None


async def _ask_phota(root: str, key: str) -> None:
    async with new_http_client(connections=1) as http:
        await PhotaClient(http, base_url=root, api_key=key).check_key()


def _opened(engine: Engine, plan: Plan, webhook_url: str | None, budget: Decimal | None, priority: str) -> BatchRef:
    with engine.begin() as connection:
        return open_batch(
            connection,
            plan.name,
            priority=Priority[priority.upper()],
            budget_usd=budget,
            webhook_url=webhook_url,
        )


def _resumed(engine: Engine, word: str) -> BatchRef:
    with engine.connect() as connection:
        batch_id = find_batch(connection, DEFAULT_ACCOUNT, word)
        batch = get_batch(connection, batch_id) if batch_id else None
    if batch is None:
        raise UsageFault(f"--resume {word}: no such batch; `photabatch status` lists them")
    return batch


def _queue(engine: Engine, storage: Storage, settings: Settings, plan: Plan, batch: BatchRef) -> None:
    if not batch.is_open:
        return
    with engine.connect() as connection:
        known = custom_ids(connection, batch.id)
    if plan.photos:
        _upload(engine, storage, settings, plan, batch, [p for p in plan.photos if p.custom_id not in known])
    with engine.begin() as connection:
        if not plan.photos:
            insert(connection, _numbered(plan), batch=batch)
        close_batch(connection, batch)


def _numbered(plan: Plan) -> list[CheckedJob]:
    jobs = []
    for number in range(1, plan.count + 1):
        spec = plan.example.spec.model_copy(update={"custom_id": f"{number:04d}"})
        jobs.append(replace(plan.example, spec=spec))
    return jobs


def _upload(
    engine: Engine, storage: Storage, settings: Settings, plan: Plan, batch: BatchRef, photos: Sequence[Photo | Address]
) -> None:
    inspector = ImageInspector(workers=2)
    uploader = Uploader(storage, bucket=settings.s3_bucket, inspector=inspector)
    try:
        with bar("Uploading") as progress:
            task = progress.add_task("Uploading", total=len(photos), detail="")
            for done in upload_and_queue(engine, uploader, photos, plan.recipe, batch):
                progress.advance(task, done)
    finally:
        inspector.close()


def _download(engine: Engine, storage: Storage, batch: BatchRef, folder: Path | None) -> list[Path]:
    return [] if folder is None else list(download_results(engine, storage, batch.id, folder))


def _finish(view: BatchView, files: list[Path], folder: Path | None, seconds: float, *, as_json: bool) -> None:
    show_summary(view, files=len(files), folder=folder, seconds=seconds)
    if as_json:
        emit(view.as_json())


def _show_plan(plan: Plan, budget: Decimal | None) -> None:
    cost = f"${plan.low_usd:.2f}" if plan.low_usd == plan.high_usd else f"${plan.low_usd:.2f} to ${plan.high_usd:.2f}"
    limit = "" if budget is None else f", budget ${budget:.2f}"
    say(f"{plan.count} jobs, {plan.recipe.operation}: {cost} estimated{limit}", style="bold")


def _refuse_lonely_detach(*, detach: bool) -> None:
    settings = load_settings()
    if detach and not is_complete(settings) and read_running(settings.home) is None:
        raise UsageFault("--detach needs a stack that goes on by itself: start `photabatch up` first")


def resume_command(slug: str) -> str:
    """The command line as it was typed, with `--resume`."""
    words = sys.argv[1:]
    if "--resume" in words:
        return shlex.join(["photabatch", *words])
    return shlex.join(["photabatch", *words, "--resume", slug])


def _default_name(sources: Sequence[str], operation: str) -> str:
    is_local = bool(sources) and "://" not in sources[0]
    word = Path(sources[0]).resolve().name if is_local else operation
    return f"{word}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
