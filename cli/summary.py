"""What a run came to, for people."""

from pathlib import Path

from rich.table import Table

from cli.terminal import console, say
from models.progress import BatchView
from models.states import BatchStatus, JobState
from settings import get_settings

_COLOURS = {BatchStatus.COMPLETED: "green", BatchStatus.COMPLETED_WITH_ERRORS: "yellow", BatchStatus.FAILED: "red"}


def show_summary(batch: BatchView, *, files: int = 0, folder: Path | None = None, seconds: float | None = None) -> None:
    """Jobs, cost, time, where things are, and what went wrong."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("Batch", f"{batch.slug}  [dim]{batch.id}[/]")
    table.add_row("Status", f"[{_COLOURS.get(batch.status, 'cyan')}]{batch.status}[/]")
    counts = ", ".join(f"{batch.counts[state]} {state}" for state in JobState if batch.counts[state])
    table.add_row("Jobs", f"{batch.counts['total']}: {counts}")
    simulated = "; simulated, nothing is really charged" if get_settings().is_simulated else ""
    table.add_row("Cost", f"${batch.spent_usd:.2f} (estimated up to ${batch.estimated_usd:.2f}{simulated})")
    if seconds is not None:
        table.add_row("Time", f"{seconds:.1f} s")
    if folder is not None and files:
        table.add_row("Results", f"{files} files in {folder}")
    console.print(table)
    if batch.paused_reason == "budget":
        waiting = batch.counts[JobState.QUEUED]
        say(f"The budget of ${batch.budget_usd:.2f} is reached; {waiting} jobs wait.", style="yellow")
        say(f"To go on: photabatch resume {batch.slug} --budget USD")
        say(f"To give them up: photabatch cancel {batch.slug}")
    for error in batch.errors:
        console.print(f"  {error['count']} × {error['code']}: {error['message']}", style="red", markup=False)
