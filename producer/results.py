"""Results from the bucket into a folder that mirrors the source."""

import hashlib
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from clients.output_keys import clean_path
from clients.storage import Storage
from models.results import JobResult, finished_jobs

_AT_ONCE = 8


def download_results(engine: Engine, storage: Storage, batch_id: uuid.UUID, folder: Path) -> Iterator[Path]:
    """Every output of the batch, verified by its SHA-256; what is there already with the same bytes stays.

    Yields each file. Raise StorageError, OSError.
    """
    with engine.connect() as connection, ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="download") as pool:
        outputs = ((job, output) for job in finished_jobs(connection, batch_id) for output in job.outputs)
        while group := list(islice(outputs, _AT_ONCE * 8)):
            yield from pool.map(lambda item: _download(storage, folder, *item), group)


def _download(storage: Storage, folder: Path, job: JobResult, output: dict[str, Any]) -> Path:
    path = folder / local_name(job, output)
    if path.exists():
        if _sha256(path) == output["sha256"]:
            return path
        path = path.with_name(f"{path.stem}-{job.id.hex[-8:]}{path.suffix}")  # never over somebody else's file
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.download_file(output["bucket"], output["key"], path)
    return path


def local_name(job: JobResult, output: dict[str, Any]) -> str:
    """`a/1.jpg` stays `a/1.jpg`; `a/1.heic` becomes `a/1.heic.jpg`; several outputs get `-0`, `-1` …"""
    suffix = Path(output["key"]).suffix
    base = (clean_path(job.custom_id or "") or job.id.hex).removesuffix(suffix)
    number = f"-{output['index']}" if len(job.outputs) > 1 else ""
    return f"{base}{number}{suffix}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
