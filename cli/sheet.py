"""`photabatch sheet`: before and after of a batch, to look at and to pass on."""

from itertools import islice
from pathlib import Path

import click

from cli.exits import Exit, UsageFault
from cli.status import found_batch, read_view
from cli.terminal import say
from clients.storage import Storage
from models.results import finished_jobs
from producer.results.sheet import DEFAULT_LIMIT, write_sheet


@click.command()
@click.argument("batch", required=False)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Default: the batch's name and .html")
@click.option(
    "--limit", type=click.IntRange(1, 5_000), default=DEFAULT_LIMIT, show_default=True, help="Jobs on the sheet."
)
def sheet(batch: str | None, out: Path | None, limit: int) -> int:
    """Write the before/after contact sheet of BATCH (the newest without a name), one self-contained HTML file.

    Its path is printed on stdout.
    """
    with found_batch(batch) as (settings, engine, batch_id):
        view = read_view(engine, batch_id)
        with engine.connect() as connection:  # closed before the first picture is fetched
            jobs = list(islice(finished_jobs(connection, batch_id), limit + 1))
        path = out or Path(f"{view.slug}.html")
        try:
            storage, is_simulated = Storage.from_settings(settings), settings.is_simulated
            write_sheet(path, batch=view, jobs=jobs, storage=storage, is_simulated=is_simulated, limit=limit)
        except OSError as error:
            raise UsageFault(f"{path} cannot be written: {error.strerror or error}") from error
    say(f"{min(len(jobs), limit)} of {view.counts['total']} jobs, {path.stat().st_size / 1e6:.1f} MB", style="green")
    click.echo(path)
    return Exit.SUCCEEDED if jobs else Exit.NOTHING_TO_DO
