"""`photabatch watch-folder`: photos that are put into a folder are worked on at once."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from cli.exits import Exit, UsageFault
from cli.fleet import open_database, services
from cli.orders import check_destination, check_services, check_webhook
from cli.request_options import Money, param_options, recipe_of
from cli.stopping import Stopper
from cli.terminal import say
from clients.image_inspector import ImageInspector
from clients.storage import Storage, StorageError
from models import Priority
from producer.ownership import OPERATOR, Owner, QueueFull
from producer.runs.upload import Uploader
from producer.uploads.bursts import LARGEST, LONGEST_S, Source
from producer.uploads.folder_results import FolderResults
from producer.uploads.folder_watch import FolderWatch, folder_id
from producer.uploads.triggers import MOST, QUIET_S
from settings import Settings

_LOOK_S = 1.0  # between two looks,
_SHARE = 4  # but so many times as long as one took: a large folder is not all that this process does
_LATER_S = 10.0  # while something is away
_INSPECTORS = 2
_AWAY = (StorageError, DBAPIError, PoolTimeout, QueueFull, OSError)  # or a folder is not mounted, a disk is full


@dataclass(frozen=True, slots=True)
class Watch:
    """A watch that has been checked. `folder`: where results are downloaded to, if they are."""

    root: Path
    source: Source
    folder: Path | None
    settle_s: float


@click.command("watch-folder")
@click.argument("root", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@param_options
@click.option(
    "--out", metavar="DEST", help="Folder or s3://bucket/prefix for the results; without it the usual bucket."
)
@click.option(
    "--settle",
    "settle_s",
    type=float,
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="A file is whole when it has not changed for so long.",
)
@click.option(
    "--quiet",
    "quiet_s",
    type=float,
    default=QUIET_S,
    show_default=True,
    metavar="SECONDS",
    help="A burst is one batch; it ends when nothing came for so long,",
)
@click.option(
    "--most", type=click.IntRange(1, LARGEST), default=MOST, show_default=True, help="or with so many photos."
)
@click.option("--priority", type=click.Choice(["interactive", "normal", "bulk"]), default="interactive")
@click.option("--budget", type=Money(), metavar="USD", help="Never spend more than this a burst.")
@click.option("--webhook", "webhook_url", metavar="URL", help="Where the events of each burst are posted.")
@click.option("--name", help="What its batches are called; another name has seen nothing yet. [DIR]")
def watch_folder(root: Path, **options: Any) -> int:
    """Enhance or edit every photo in DIR and below, those that are there and those that come, until stopped.

    Half-written files are waited out; what was done once is not done again, after a restart neither, unless it
    changes. Works on the stack that is up, or starts one for its own duration.
    """
    watch = _checked(root, options)
    stopper = Stopper()
    stopper.install()
    try:
        with services(with_workers=True) as settings:
            check_webhook(watch.source.webhook_url, settings)
            _run(watch, settings, stopper)
    except KeyboardInterrupt:
        say("Stopped. What is queued goes on while a stack is up; the same command goes on with the folder.")
    return Exit.SUCCEEDED


def _checked(root: Path, options: dict[str, Any]) -> Watch:
    """Raise UsageFault."""
    names = ("out", "settle_s", "quiet_s", "most", "priority", "budget", "webhook_url", "name", "operation")
    given = {name: options.pop(name) for name in names}
    if given["operation"] in (None, "generate"):
        raise UsageFault("--op says what to do with the photos: enhance, edit or remix")
    if not all(0 < given[name] <= LONGEST_S for name in ("settle_s", "quiet_s")):  # not a number is neither
        raise UsageFault(f"--settle and --quiet must be more than 0 and at most {LONGEST_S:,.0f} seconds")
    is_s3 = bool(given["out"]) and given["out"].startswith("s3://")
    recipe, _ = recipe_of(given["operation"], options, output=given["out"] if is_s3 else None)
    folder = Path(given["out"]) if given["out"] and not is_s3 else None
    _check_apart(root, folder)
    source = Source(
        id=folder_id(root, given["name"]),
        name=given["name"] or root.resolve().name or "folder",
        recipe=recipe,
        quiet_s=given["quiet_s"],
        most=given["most"],
        priority=Priority[given["priority"].upper()],
        budget_usd=given["budget"],
        webhook_url=given["webhook_url"],
        labels={"folder": str(root.resolve())},
    )
    return Watch(root, source, folder, given["settle_s"])


def _check_apart(root: Path, folder: Path | None) -> None:
    """Results must not come back as photos."""
    if folder is None:
        return
    ours, theirs = root.resolve(), folder.resolve()
    if ours == theirs or ours in theirs.parents or theirs in ours.parents:
        raise UsageFault(f"--out {folder}: results would be photos of {root} again; choose a folder beside it")


def _run(watch: Watch, settings: Settings, stopper: Stopper) -> None:
    """Until a signal ends it with KeyboardInterrupt."""
    engine, storage = open_database(settings), Storage.from_settings(settings)
    check_services(settings, storage)
    check_destination(watch.source.recipe.output, watch.folder, storage)
    owner = Owner(OPERATOR, settings.s3_bucket)
    results = FolderResults(watch.source, engine=engine, storage=storage, owner=owner, folder=watch.folder, tell=say)
    inspector = ImageInspector(workers=_INSPECTORS)
    try:
        photos = FolderWatch(
            watch.root,
            watch.source,
            engine=engine,
            uploader=Uploader(storage, bucket=settings.s3_bucket, inspector=inspector),
            owner=owner,
            settle_s=watch.settle_s,
            tell=say,
        )
        say(f"Watching {watch.root}: {watch.source.recipe.operation}. Ctrl-C stops it.", style="green")
        with _beside(results.look):
            _look_again(lambda: photos.look(time.monotonic()), stopper)
    finally:
        inspector.close()
        engine.dispose()


def _look_again(look: Callable[[], int], stopper: Stopper) -> None:
    while True:
        pause_s = _timed(look)
        with stopper.waiting():
            time.sleep(pause_s)


def _timed(look: Callable[[], int]) -> float:
    """One look; seconds until the next."""
    started = time.monotonic()
    try:
        look()
    except _AWAY as error:
        reason = type(error.orig).__name__ if isinstance(error, DBAPIError) else error
        say(f"Trying again in {_LATER_S:g} s, nothing is lost: {reason}", style="yellow")
        return _LATER_S
    return max(_LOOK_S, _SHARE * (time.monotonic() - started))


@contextmanager
def _beside(look: Callable[[], int]) -> Iterator[None]:
    """Look again and again in a thread of its own while the block lasts."""
    over = threading.Event()

    def again() -> None:
        while not over.wait(_timed(look)):
            pass

    thread = threading.Thread(target=again, name="results", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=_LATER_S)
