"""Progress that is honest: numbers of the job table, on a terminal as a bar, elsewhere as a line now and then."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from sqlalchemy import Engine

from cli import wording
from cli.exits import CommandError, Exit
from cli.terminal import console, say
from models.health import UpstreamState, read_upstream
from models.outlook import WaitingFor
from models.progress import BatchView, read_batch
from models.states import JobState

_LOOK_S = 0.3
_LINE_S = 5.0
_PATIENCE_S = 15.0  # with a gate that only a person can open; longer than between two probes of it
_GATE_WORDS = {
    "no_credit": "Phota refuses for lack of credit: top up the account",
    "bad_key": "Phota refuses the key: check PHOTA_API_KEY",
    "forbidden": "Phota refuses the key for this request: check its permissions",
    "unavailable": "Phota does not answer; trying again by itself",
    "throttled": "Phota asks to wait; going on by itself",
}
_NEEDS_PEOPLE = frozenset({"no_credit", "bad_key", "forbidden"})


class GateClosed(CommandError):  # noqa: N818
    """Waiting longer is of no use until somebody acts. Nothing failed, the batch waits."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{_GATE_WORDS[reason]}. No job failed for it; the batch waits.", Exit.CANNOT_START)


def follow(engine: Engine, batch_id: uuid.UUID) -> Iterator[tuple[BatchView, UpstreamState]]:
    """The batch as it goes, until nothing more comes of it for now: finished, paused, out of its account's budget.

    A window that has not opened yet is waited for; one that closes ends it. Raise GateClosed after some patience.
    """
    closed_since: float | None = None
    was_open = False
    while True:
        with engine.connect() as connection:
            batch = read_batch(connection, batch_id)
            upstream = read_upstream(connection)
        if batch is None:
            raise CommandError("The batch is gone.", Exit.USAGE)
        yield batch, upstream
        if batch.status.is_final or (batch.paused_reason and not _is_moving(batch)):
            return
        if batch.waiting is not None and (was_open or batch.waiting.reason is not WaitingFor.WINDOW):
            return
        if batch.waiting is not None and batch.waiting.until is None:  # it never opens long enough
            return
        was_open = was_open or batch.waiting is None
        closed_since = (closed_since or time.monotonic()) if upstream.closed_reason in _NEEDS_PEOPLE else None
        if closed_since and time.monotonic() - closed_since > _PATIENCE_S and not _is_moving(batch):
            raise GateClosed(str(upstream.closed_reason))
        time.sleep(_LOOK_S)


def watch(engine: Engine, batch_id: uuid.UUID, *, quiet: bool = False) -> BatchView:
    """Show progress until nothing more comes of the batch for now, as `follow` says; its last state."""
    if console.is_terminal and not quiet:
        return _watch_bar(engine, batch_id)
    last: BatchView | None = None
    told_at = 0.0
    for batch, upstream in follow(engine, batch_id):
        if not quiet and time.monotonic() - told_at > _LINE_S:
            told_at = time.monotonic()
            say(f"{batch.finished}/{batch.counts['total']} {describe(batch, upstream)}")
        last = batch
    assert last is not None, "follow yields at least once"  # noqa: S101
    return last


def _watch_bar(engine: Engine, batch_id: uuid.UUID) -> BatchView:
    with bar("Working") as progress:
        task = progress.add_task("Working", total=None, detail="")
        for batch, upstream in follow(engine, batch_id):
            progress.update(
                task, total=batch.counts["total"], completed=batch.finished, detail=describe(batch, upstream)
            )
            last = batch
    return last


@contextmanager
def bar(_: str) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    with _Detailed(*columns, console=console) as progress:
        yield progress


class _Detailed(Progress):
    """The detail has a line of its own: beside the bar it would squeeze it on a terminal of 80 columns."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if task.fields["detail"]:
                yield Text(task.fields["detail"], style="dim")


def describe(batch: BatchView, upstream: UpstreamState | None = None) -> str:
    """Counts that are not zero, what was spent, what is in the way, and when it will be done."""
    words = [wording.counted(batch), f"${batch.spent_usd:.2f} spent"]
    if batch.waiting is not None:
        words.append(wording.waits(batch.waiting))
    elif batch.eta and batch.unfinished:
        words.append(f"about {_minutes((batch.eta - batch.eta.now(batch.eta.tzinfo)).total_seconds())} left")
    if batch.paused_reason:
        words.append(wording.paused(batch))
    if batch.is_filling and not batch.unfinished:
        words.append("open for more")
    if batch.forecast is not None and batch.forecast.meets_deadline is False:
        words.append(str(wording.foreseen(batch)))
    if upstream and upstream.closed_reason:
        words.append(_GATE_WORDS.get(upstream.closed_reason, upstream.closed_reason))
    return " · ".join(words)


def _minutes(seconds: float) -> str:
    seconds = max(1, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    return f"{round(seconds / 60)} min" if seconds < 5_400 else f"{round(seconds / 3_600)} h"


def _is_moving(batch: BatchView) -> bool:
    """Something is in Phota's hands or on its way home."""
    return bool(batch.counts[JobState.SUBMITTING] + batch.counts[JobState.RUNNING] + batch.counts[JobState.STORING])


def exit_code(batch: BatchView) -> Exit:
    """What a batch that `follow` has ended with means to a script."""
    if batch.paused_reason == "budget":
        return Exit.BUDGET
    if batch.waiting is not None:
        return Exit.DEADLINE if batch.waiting.reason is WaitingFor.WINDOW else Exit.BUDGET
    if any(error["code"] == "deadline" for error in batch.errors):
        return Exit.DEADLINE
    if batch.counts[JobState.SUCCEEDED] + batch.counts[JobState.SKIPPED] == batch.counts["total"]:
        return Exit.SUCCEEDED
    return Exit.SOME_FAILED
