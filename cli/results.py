"""`photabatch results`: what a batch brought forth, as lines, a folder, a zip or a report."""

import signal
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click
from sqlalchemy import Engine

from cli.exits import CommandError, Exit, UsageFault
from cli.progress import bar
from cli.status import found_batch, read_view
from cli.terminal import console, say
from clients.storage import ObjectChanged, ObjectMissing, Storage
from models.progress import BatchView
from models.results import finished_page
from producer.results import reports
from producer.results.downloads import OutputsLost, download_results
from producer.results.pages import paged
from producer.results.reports import Form
from producer.results.whole_files import whole_file
from producer.results.zips import zip_results

_STDOUT = Path("-")
_FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


@dataclass(frozen=True, slots=True)
class Wanted:
    """In which forms; `-` is standard output."""

    jsonl: Path | None
    report: Path | None
    archive: Path | None
    folder: Path | None

    def __post_init__(self) -> None:
        """Raise UsageFault for what cannot be."""
        if [self.jsonl, self.report, self.archive].count(_STDOUT) > 1:
            raise UsageFault("Only one of --jsonl, --report and --zip can go to stdout.")
        if self.archive == _STDOUT and sys.stdout.isatty():
            raise UsageFault("--zip - writes bytes that a terminal cannot show; redirect it, or name a file.")
        _ = self.report_form

    @property
    def report_form(self) -> Form:
        """By the suffix; CSV on stdout."""
        if self.report in (None, _STDOUT):
            return Form.CSV
        try:
            return Form(self.report.suffix.lower().removeprefix("."))
        except ValueError:
            raise UsageFault(f"--report {self.report}: its name must end in .csv or .jsonl") from None


@click.command()
@click.argument("batch", required=False)
@click.option("--jsonl", type=_FILE, help="A line a finished job; `-` for stdout.")
@click.option(
    "--report", type=_FILE, help="A line a job, finished or not: FILE.csv, FILE.jsonl, or `-`: CSV on stdout."
)
@click.option("--zip", "archive", type=_FILE, help="All pictures, result lines and report in one; `-` for stdout.")
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="Download the pictures.")
def results(batch: str | None, **wanted: Path | None) -> None:
    """Fetch what BATCH (the newest without a name) has finished; also while it runs.

    Without options: result lines on stdout. Folder and zip mirror the source. A file has its name only once it is
    whole.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is half written goes
    forms = Wanted(**wanted)
    with found_batch(batch) as (settings, engine, batch_id):
        view = read_view(engine, batch_id)
        try:
            _fetch(engine, Storage.from_settings(settings), view, forms)
        except (ObjectMissing, ObjectChanged, OutputsLost) as error:
            raise CommandError(_lost(error, view, forms), Exit.SOME_FAILED) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandError(f"{error.filename or 'The results'}: {error.strerror or error}", Exit.USAGE) from error
    if view.unfinished:
        total = view.counts["total"]
        say(
            f"{view.unfinished} of {total} jobs are not finished yet; the same command brings more later.",
            style="yellow",
        )


def _fetch(engine: Engine, storage: Storage, view: BatchView, forms: Wanted) -> None:
    if forms.folder:
        count = _counted(download_results(engine, storage, view.id, forms.folder))
        say(f"{count} files in {forms.folder}", style="green")
    if forms.archive:
        with _opened(forms.archive) as file:
            count = _counted(zip_results(engine, storage, view.id, file, is_pipe=forms.archive == _STDOUT))
        say(f"{count} pictures in {_place(forms.archive)}", style="green")
    if forms.report:
        with _opened(forms.report) as file:
            count = _written(file, reports.report_lines(reports.jobs_of(engine, view.id), forms.report_form))
        say(f"{count - (forms.report_form is Form.CSV)} jobs in {_place(forms.report)}", style="green")
    jsonl = forms.jsonl or (None if forms.folder or forms.archive or forms.report else _STDOUT)
    if jsonl:
        with _opened(jsonl) as file:
            _written(file, _result_lines(engine, view.id))


def _result_lines(engine: Engine, batch_id: uuid.UUID) -> Iterator[bytes]:
    return (reports.json_line(job.as_json()) for job in paged(engine, finished_page, batch_id))


def _counted(names: Iterator[object]) -> int:
    """Go through them, with a bar on a terminal."""
    if not console.is_terminal:
        return sum(1 for _ in names)
    with bar("Fetching") as progress:
        task = progress.add_task("Fetching", total=None, detail="")
        return sum(1 for _ in progress.track(names, task_id=task))


def _written(file: IO[bytes], lines: Iterable[bytes]) -> int:
    return sum(1 for line in lines if file.write(line))


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path != _STDOUT:
        with whole_file(path) as file:
            yield file
        return
    stdout = sys.stdout.buffer
    yield stdout
    stdout.flush()


def _place(path: Path) -> str:
    return "stdout" if path == _STDOUT else str(path)


def _lost(error: Exception, view: BatchView, forms: Wanted) -> str:
    if isinstance(error, OutputsLost):
        return f"{error}\nAll others are in {forms.folder}."
    return f"{error}\nNo zip was made of it. To have all others: photabatch results {view.slug} --to DIR"
