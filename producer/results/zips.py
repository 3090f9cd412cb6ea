"""All results of a batch in one zip, and at its end two files that tell of them."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from tempfile import SpooledTemporaryFile
from typing import IO, NamedTuple

from sqlalchemy import Engine

from clients.storage import Storage
from models.reports import JobReport
from models.results import JobResult
from producer.results import reports
from producer.results.downloads import Output, fetch, made_ahead
from producer.results.local_names import TakenNames, local_names
from producer.results.zip_stream import ZipStream

RESULTS = "results.jsonl"
REPORT = "report.csv"
_IN_MEMORY = 2**20  # bytes of each file on its way; what is larger goes to disk


class _Entry(NamedTuple):
    name: str
    output: Output
    finished_at: datetime


def zip_results(
    engine: Engine, storage: Storage, batch_id: uuid.UUID, target: IO[bytes], *, is_pipe: bool = False
) -> Iterator[str]:
    """Write every output of the batch, verified by its SHA-256, and what tells of them; yields the name of each.

    `results.jsonl`: the result lines, with each output's `file` in the archive; `report.csv`: all jobs. Both, and the
    pictures, are of one reading of the batch. `target` lacks its end, and so is no zip, unless all is read; with
    `is_pipe` it is written from front to end. Raise StorageError, OSError.
    """
    with ZipStream(target, is_pipe=is_pipe) as archive, _Papers() as papers:
        entries = _entries(reports.jobs_of(engine, batch_id), papers)
        with closing(made_ahead(lambda entry: (entry, _fetched(storage, entry.output)), entries)) as made:
            for entry, file in made:
                with file:
                    archive.add(entry.name, file, size=entry.output["bytes"], changed_at=entry.finished_at)
                yield entry.name
        papers.add_to(archive)


def _entries(jobs: Iterable[JobReport], papers: "_Papers") -> Iterator[_Entry]:
    taken = TakenNames()
    try:
        for reserved in (RESULTS, REPORT):
            taken.take([reserved])
        for job in jobs:
            result = job.as_result()
            entries = [] if result is None else _named(result, taken)
            papers.tell(job, result, [entry.name for entry in entries])
            yield from entries
    finally:
        taken.close()


def _named(job: JobResult, taken: TakenNames) -> list[_Entry]:
    names = (taken.take(local_names(job, output, is_portable=True)) for output in job.outputs)
    return [_Entry(name, output, job.finished_at) for name, output in zip(names, job.outputs, strict=True)]


def _fetched(storage: Storage, output: Output) -> IO[bytes]:
    """Whole and verified before a byte of it is in the archive."""
    file = _file()
    try:
        fetch(storage, output, file)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


class _Papers:
    """The two files, written while the batch is read and added when the pictures are in."""

    def __init__(self) -> None:
        self._results, self._report = _file(), _file()

    def __enter__(self) -> "_Papers":
        self._report.write(reports.header())
        return self

    def __exit__(self, *_: object) -> None:
        self._results.close()
        self._report.close()

    def tell(self, job: JobReport, result: JobResult | None, names: Sequence[str]) -> None:
        """`names`: of the job's outputs in the archive, in their order."""
        self._report.write(reports.csv_line(job))
        if result is None:
            return
        line = result.as_json()
        if names:
            outputs = zip(line["response"]["outputs"], names, strict=True)
            line["response"]["outputs"] = [{**output, "file": name} for output, name in outputs]
        self._results.write(reports.json_line(line))

    def add_to(self, archive: ZipStream) -> None:
        for name, file in ((RESULTS, self._results), (REPORT, self._report)):
            size = file.tell()
            file.seek(0)
            archive.add(name, file, size=size, changed_at=datetime.now(UTC), is_text=True)


def _file() -> IO[bytes]:
    return SpooledTemporaryFile(_IN_MEMORY, prefix="photabatch-")
