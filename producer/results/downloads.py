"""Results from the bucket into a folder that mirrors the source."""

import hashlib
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeVar

from sqlalchemy import Engine

from clients.storage import ObjectChanged, ObjectMissing, Storage, StorageError, StorageUnavailable
from models.results import JobResult, finished_page
from producer.results.local_names import local_names
from producer.results.pages import paged

_AT_ONCE = 8
_AHEAD = 32  # outputs fetched or being fetched before the first of them is used
_PAUSES_S = (0.5, 2.0, 8.0)  # between tries of one object, beside those of the S3 client
_SHOWN = 5  # lost outputs, in a message

Item = TypeVar("Item")
Made = TypeVar("Made")
Output = dict[str, Any]


class OutputsLost(StorageError):  # noqa: N818 - as the errors it is made of
    """Some outputs are not in the bucket as they were stored; all others are where they belong."""

    code = "outputs_lost"

    def __init__(self, errors: Sequence[StorageError]) -> None:
        more = f"\n… and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        super().__init__(f"{len(errors)} outputs are lost:\n" + "\n".join(map(str, errors[:_SHOWN])) + more)


def download_results(engine: Engine, storage: Storage, batch_id: uuid.UUID, folder: Path) -> Iterator[Path]:
    """Every output of the batch, verified by its SHA-256; what is there already with the same bytes stays.

    Yields each file. Raise OutputsLost once all others are there; StorageError, OSError.
    """
    return download_jobs(storage, paged(engine, finished_page, batch_id), folder)


def download_jobs(storage: Storage, jobs: Iterable[JobResult], folder: Path) -> Iterator[Path]:
    """As `download_results`, of these jobs."""
    target, lost = _Folder(folder), list[StorageError]()
    outputs = ((job, output) for job in jobs for output in job.outputs)
    for done in made_ahead(lambda wanted: _download(storage, target, *wanted), outputs):
        if isinstance(done, Path):
            yield done
        else:
            lost.append(done)
    if lost:
        raise OutputsLost(lost)


def _download(storage: Storage, target: "_Folder", job: JobResult, output: Output) -> Path | StorageError:
    names = local_names(job, output)
    there = target.find(names, output)
    if there is not None:
        return there
    try:
        return target.add(names, lambda file: fetch(storage, output, file))
    except (ObjectMissing, ObjectChanged) as error:
        return error


def fetch(storage: Storage, output: Output, file: IO[bytes]) -> None:
    """The bytes of an output into an empty file, verified; patiently while storage is in trouble.

    Raise StorageError, OSError.
    """
    for pause_s in (*_PAUSES_S, None):
        try:
            storage.copy_to(output["bucket"], output["key"], file, sha256_hex=output["sha256"])
        except StorageUnavailable:
            if pause_s is None:
                raise
            file.seek(0)
            file.truncate()
            time.sleep(pause_s)
        else:
            return


def made_ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Generator[Made]:
    """What `make` makes of each item, in their order; a few are made ahead, by threads. Raise what `make` raises."""
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="download")
    pending: deque[Future[Made]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(make, item))
            if len(pending) >= _AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Folder:
    """Where outputs are put by several threads at once; a file appears when it is whole, over nobody else's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._placing = threading.Lock()

    def find(self, names: Sequence[str], output: Output) -> Path | None:
        """The file, if it is here already with the same bytes."""
        for path in (self._folder / name for name in names):
            if path.is_file() and path.stat().st_size == output["bytes"] and _sha256(path) == output["sha256"]:
                return path
        return None

    def add(self, names: Sequence[str], write: Callable[[IO[bytes]], None]) -> Path:
        """What `write` writes, under the first name that is free. Raise OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f".photabatch-{uuid.uuid4().hex}"
        try:
            with partial.open("xb") as file:
                write(file)
            with self._placing:  # what is free is free until the file is there
                path = self._free(names)
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def _free(self, names: Sequence[str]) -> Path:
        """The last name is the job's id: what has it is an older try, and is replaced."""
        *named, last = (self._folder / name for name in names)
        for path in named:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                continue  # a file of that name stands where a folder would be
            if not os.path.lexists(path):
                return path
        return last


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
