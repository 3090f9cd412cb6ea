"""A submission on its way in: jobs and faults wait on disk, so that no transaction waits for a client.

Memory stays flat whatever comes: files hold all but the first megabyte, and what is read back is bounded.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from tempfile import SpooledTemporaryFile
from typing import IO, Literal, NamedTuple

from pydantic_core import to_json

from clients.phota_requests import Problem
from models import new_id
from producer.jobs import CheckedJob

_IN_MEMORY = 2**20  # bytes of each file
_BITE_ROWS = 2_500
_BITE_BYTES = 4 * 2**20
_DIGITS = 12  # of the number in front of a fault, so that faults sort as bytes

Place = Literal["line", "index"]


class Bite(NamedTuple):
    """Rows for `models.inserts.insert_ready`: a JSON array, and how many they are."""

    rows: str
    jobs: int


class Spool:
    """Jobs and faults by their number in the body: a `line` from 1, or an `index` from 0. Close it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.jobs = 0
        self.refused = 0  # numbers with at least one fault
        self._rows = _file()
        self._faults = _file()
        self._late_faults = _file()

    def add(self, number: int, job: CheckedJob) -> None:
        self._rows.write(to_json(_row(number, job)) + b"\n")
        self.jobs += 1

    def refuse(self, number: int, problems: Sequence[Problem]) -> None:
        """Faults found while the body is read, in its order."""
        self._write(self._faults, number, problems)

    def refuse_late(self, number: int, problem: Problem) -> None:
        """A fault found while the rows go in, in their order."""
        self._write(self._late_faults, number, [problem])

    def _write(self, file: IO[bytes], number: int, problems: Sequence[Problem]) -> None:
        for problem in problems:
            fault = {self.place: number, "param": problem.param, "code": problem.code, "message": problem.message}
            file.write(b"%0*d" % (_DIGITS, number) + to_json(fault) + b"\n")
        self.refused += 1

    def bites(self) -> Iterator[Bite]:
        """All rows in their order."""
        rows: list[bytes] = []
        size = 0
        for row in _lines(self._rows):
            if len(rows) == _BITE_ROWS or size + len(row) > _BITE_BYTES:
                yield _bite(rows)
                rows, size = [], 0
            rows.append(row)
            size += len(row)
        if rows:
            yield _bite(rows)

    def faults(self) -> Iterator[bytes]:
        """All faults in the order of the body, each a JSON object."""
        for fault in heapq.merge(_lines(self._faults), _lines(self._late_faults)):
            yield fault[_DIGITS:].rstrip()

    def close(self) -> None:
        for file in (self._rows, self._faults, self._late_faults):
            file.close()


def _row(number: int, job: CheckedJob) -> dict[str, object]:
    spec = job.spec
    row = {
        "id": str(new_id()),
        "number": number,
        "operation": spec.operation,
        "params": job.params.body(),
        "estimate_usd": str(job.high_usd),
        "custom_id": spec.custom_id,
        "idempotency_key": spec.idempotency_key,
        "output": job.output,
        "content_key": job.content_key,
        "is_redo": job.is_redo or None,
        "priority": job.priority,
        "webhook_url": spec.webhook_url,
        "metadata": spec.metadata or None,
        "not_before": spec.not_before,
        "expires_at": spec.expires_at,
    }
    return {name: value for name, value in row.items() if value is not None}


def _bite(rows: Sequence[bytes]) -> Bite:
    return Bite(f"[{b','.join(rows).decode()}]", len(rows))


def _file() -> IO[bytes]:
    return SpooledTemporaryFile(_IN_MEMORY, prefix="photabatch-")


def _lines(file: IO[bytes]) -> Iterable[bytes]:
    file.seek(0)
    return file
