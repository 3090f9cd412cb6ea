"""What a run came to, for people."""

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from cli import wording
from cli.terminal import console, say
from models.progress import BatchView
from models.states import BatchStatus, JobState
from settings import get_settings

_COLOURS = {BatchStatus.COMPLETED: "green", BatchStatus.COMPLETED_WITH_ERRORS: "yellow", BatchStatus.FAILED: "red"}


def show_summary(batch: BatchView, *, files: int = 0, folder: Path | None = None, seconds: float | None = None) -> None:
    """Jobs, cost, time, where things are, what is ahead of it, and what went wrong."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("Batch", f"{batch.slug}  [dim]{batch.id}[/]")
    table.add_row("Status", f"[{_COLOURS.get(batch.status, 'cyan')}]{batch.status}[/]")
    table.add_row("Jobs", f"{batch.counts['total']}: {wording.counted(batch)}")
    simulated = "; simulated, nothing is really charged" if get_settings().is_simulated else ""
    table.add_row("Cost", f"${batch.spent_usd:.2f} (estimated up to ${batch.estimated_usd:.2f}{simulated})")
    if seconds is not None:
        table.add_row("Time", f"{seconds:.1f} s")
    for name, value in _ahead(batch):
        if value is not None:
            table.add_row(name, value)
    if folder is not None and files:
        table.add_row("Results", f"{files} files in {folder}")
    console.print(table)
    _show_hints(batch)
    for error in batch.errors:
        console.print(f"  {error['count']} × {error['code']}: {error['message']}", style="red", markup=False)


def _ahead(batch: BatchView) -> Iterator[tuple[str, str | None]]:
    yield "Window", batch.window
    yield "Deadline", wording.deadline(batch)
    yield "Waits", None if batch.waiting is None else wording.waits(batch.waiting).removeprefix("waits").lstrip(": ")
    yield "Forecast", wording.foreseen(batch)


def _show_hints(batch: BatchView) -> None:
    """How to go on with what has stopped."""
    left = wording.jobs(batch.counts[JobState.QUEUED])
    if batch.paused_reason is not None:
        words = wording.paused(batch)
        say(f"{words[0].upper()}{words[1:]}; {left} left.", style="yellow")
        budget = " --budget USD" if batch.paused_reason == "budget" else ""
        judged = ", which judges failures anew" if batch.paused_reason == "failure_rate" else ""
        say(f"To go on{judged}: photabatch resume {batch.slug}{budget}")
        say(f"To give them up: photabatch cancel {batch.slug}")
    elif batch.is_filling and not batch.unfinished:
        say("It is open for more: the command that fills it has not come to its end.", style="yellow")
        say(f"Was it interrupted? Give it again to go on, or end the batch: photabatch cancel {batch.slug}")
    elif batch.waiting is not None and batch.waiting.until is not None:
        when = wording.clock(batch.waiting.until)
        say(f"{left} left: the rest goes on by itself at {when} as long as a stack is up.", style="yellow")
        say(f"Follow it: photabatch watch {batch.slug}")
