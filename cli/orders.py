"""What a command asks for, checked before any service is asked."""

import asyncio
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click

from cli import wording
from cli.exits import CannotStart, CommandError, Exit, UsageFault
from cli.request_options import check_address, limits_of, recipe_of, selection_of
from cli.terminal import say
from clients.http import new_http_client
from clients.phota import PhotaClient, PhotaError
from clients.phota_errors import GateClosed
from clients.s3_uri import S3Uri
from clients.storage import AccessDenied, BucketMissing, Storage
from models import Priority
from producer.batches import BatchLimits
from producer.jobs import CheckedJob, webhook_url_fault
from producer.manifests.manifest_files import is_manifest
from producer.recipes import Recipe
from producer.sources.photos import Address, NoSuchSource, Picture, find_pictures
from producer.sources.selection import Selection
from settings import Settings

_REASONS = {
    BucketMissing: "no such bucket; make it first (the embedded S3 has s3://photabatch)",
    AccessDenied: "the credentials may not use this bucket",
}
RESULTS = Path("photabatch-out")  # below it, a folder a batch, unless --out says otherwise


@dataclass(frozen=True, slots=True)
class Order:
    """A run over pictures, or of `count` jobs that need none. `example`: a job checked on behalf of all."""

    sources: tuple[str, ...]
    recipe: Recipe
    example: CheckedJob
    selection: Selection
    patterns: tuple[tuple[str, ...], tuple[str, ...]]
    files_from: Path | None
    count: int
    name: str | None
    out: str | None
    limits: BatchLimits
    webhook_url: str | None
    priority: Priority
    is_redo: bool = False

    @property
    def run_key(self) -> str:
        """The same for the same command, so that it goes on where an earlier one was interrupted."""
        sources = [source if "://" in source else str(Path(source).resolve()) for source in self.sources]
        what = [sources, self.patterns, self.files_from and str(self.files_from.resolve()), self.count, self.out]
        job = [self.recipe.operation, self.example.params.body(), self.name, self.is_redo]
        return hashlib.sha256(json.dumps([what, job]).encode()).hexdigest()

    @property
    def is_on_s3(self) -> bool:
        return any(source.startswith("s3://") for source in self.sources)

    def folder(self, batch_name: str) -> Path | None:
        """Where results are downloaded to; None: they stay where --out s3:// puts them."""
        if self.out and self.out.startswith("s3://"):
            return None
        return Path(self.out) if self.out else RESULTS / batch_name

    def new_name(self) -> str:
        if self.name:
            return self.name
        is_local = bool(self.sources) and "://" not in self.sources[0]
        word = Path(self.sources[0]).resolve().name if is_local else self.recipe.operation
        return f"{word}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"

    def pictures(self, storage: Storage | None) -> Iterator[Picture]:
        """As a stream, from the beginning each time. Raise UsageFault, StorageError."""
        try:
            yield from find_pictures(
                self.sources,
                selection=self.selection,
                leave_out=Path(self.out) if self.out and "://" not in self.out else RESULTS,
                files_from=_names(self.files_from) if self.files_from else None,
                storage=storage,
            )
        except NoSuchSource as error:
            raise UsageFault(str(error)) from None

    def bill(self, jobs: int) -> tuple[Decimal, Decimal]:
        """The least and the most that so many jobs cost, in USD."""
        return self.example.low_usd * jobs, self.example.high_usd * jobs


def order_of(sources: Sequence[str], operation: str | None, options: dict[str, Any], *, is_redo: bool = False) -> Order:
    """Check everything that can be checked without a service. Raise UsageFault, or CommandError for nothing to do."""
    if operation is None:
        raise UsageFault("--op says what to do: enhance, edit, generate or remix")
    limits, out, name = limits_of(options), options.pop("out", None), options.pop("name", None)
    patterns = (tuple(options.get("include", ())), tuple(options.get("exclude", ())))
    selection, files_from = selection_of(options), options.pop("files_from", None)
    count, priority = options.pop("count", 1), Priority[options.pop("priority", "normal").upper()]
    webhook_url = options.pop("webhook_url", None)
    recipe, example = recipe_of(operation, options, output=out if out and out.startswith("s3://") else None)
    order = Order(
        sources=tuple(sources),
        recipe=recipe,
        example=example,
        selection=selection,
        patterns=patterns,
        files_from=files_from,
        count=count,
        name=name,
        out=out,
        limits=limits,
        webhook_url=webhook_url,
        priority=priority,
        is_redo=is_redo,
    )
    _check_sources(order)
    return order


def _check_sources(order: Order) -> None:
    if not order.example.params.image_fields:
        if order.sources or order.files_from:
            raise UsageFault(
                f"{order.recipe.operation} makes pictures from --prompt alone; to change photos: --op edit"
            )
        return
    if not order.sources and order.files_from is None:
        raise UsageFault(
            f"{order.recipe.operation} needs photos: name a folder, files, s3://bucket/prefix or a manifest"
        )
    for source in order.sources:
        if "://" in source and not source.startswith("s3://"):
            check_address(Address(source), order.recipe)
        elif is_manifest(source):
            raise UsageFault(f"{source}: a manifest is run by itself, without other sources or --files-from")
        elif order.out is not None and _is_fed_by(source, order.out):
            raise UsageFault(f"--out {order.out}: the next run would find its results in {source}; name another place")
    if not order.is_on_s3 and str(order.files_from) != "-" and next(order.pictures(None), None) is None:
        raise nothing_found(order)


def _is_fed_by(source: str, out: str) -> bool:
    """Whether results there would be pictures of the source. A folder passes over those below it, not itself."""
    if "://" in source or "://" in out:
        return source.startswith("s3://") and out.startswith(source)
    return Path(out).resolve() == Path(source).resolve()


def nothing_found(order: Order) -> CommandError:
    where = ", ".join(order.sources) or str(order.files_from)
    chosen = " that --include and --exclude leave" if any(order.patterns) else ""
    return CommandError(f"No photos{chosen} in {where} (jpg, png, webp, heic).", Exit.NOTHING_TO_DO)


def _names(path: Path) -> Iterator[str]:
    with click.open_file(str(path), encoding="utf-8", errors="surrogateescape") as lines:
        yield from lines


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


async def _ask_phota(root: str, key: str) -> None:
    async with new_http_client(connections=1) as http:
        await PhotaClient(http, base_url=root, api_key=key).check_key()


def check_bucket(storage: Storage, bucket: str, what: str) -> None:
    """Raise UsageFault if there is no such bucket, or it may not be used; StorageError."""
    try:
        next(storage.list(bucket, "photabatch-was-here"), None)
    except (BucketMissing, AccessDenied) as error:
        raise UsageFault(f"{what}: s3://{bucket}: {_REASONS[type(error)]}") from None


def check_destination(output: str | None, folder: Path | None, storage: Storage) -> None:
    """Before the first charge: results can be put where they should go. Raise StorageError, UsageFault."""
    if output is not None:
        check_bucket(storage, S3Uri.parse(output).bucket, "--out")
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageFault(f"--out {folder}: {error.strerror}") from None


def tell_bill(jobs: int, low_usd: Decimal, high_usd: Decimal, *, what: str, budget_usd: Decimal | None) -> None:
    """The range, before anything is spent."""
    cost = f"${low_usd:.2f}" if low_usd == high_usd else f"${low_usd:.2f} to ${high_usd:.2f}"
    limit = "" if budget_usd is None else f", budget ${budget_usd:.2f}"
    say(f"{wording.jobs(jobs)}, {what}: {cost} estimated{limit}", style="bold")
    if budget_usd is not None and budget_usd < low_usd:
        say(f"The budget is below the least that they cost: it will pause at ${budget_usd:.2f}.", style="yellow")


def confirm(settings: Settings, *, yes: bool, budget_usd: Decimal | None, question: str = "Start?") -> None:
    """Ask before the first charge; where nobody can be asked a budget is the answer. Raise UsageFault, Abort."""
    if yes or settings.is_simulated:
        return
    if sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)
    elif budget_usd is None:
        raise UsageFault("Nobody is here to be asked: give --yes, or a --budget, to start.")
