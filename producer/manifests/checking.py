"""A body, bite by bite: every job is checked, and goes on as a job or as faults."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from clients.phota_requests import InvalidRequest
from producer.jobs import CheckedJob
from producer.manifests.lines import LineReader
from producer.manifests.record import Defaults, check_line, check_record, check_row
from producer.manifests.spool import Spool
from producer.ownership import Owner

MOST_JOBS = 2_000_000  # of one body: what waits of it on disk is bounded


class TooManyJobs(Exception):  # noqa: N818 - says what it is
    """The body has more jobs than one may have."""


class Checker:
    """`keep` takes the number and the job of each that is valid; `spool` the faults of the others.

    `defaults`: a job in manifest form, for what a record leaves open (producer/manifests/record.py).
    """

    def __init__(
        self,
        spool: Spool,
        keep: Callable[[int, CheckedJob], None],
        *,
        allowed_hosts: Sequence[str],
        owner: Owner,
        most: int = MOST_JOBS,
        defaults: Defaults | None = None,
    ) -> None:
        self._spool = spool
        self._keep = keep
        self._allowed_hosts = tuple(allowed_hosts)
        self._owner = owner
        self._defaults = defaults
        self._most = most
        self._reader = LineReader()
        self.seen = 0  # jobs, valid or not

    def take(self, chunk: bytes) -> None:
        """The next bytes of a JSONL body, which may end anywhere. Raise TooManyJobs, as all of these."""
        self._sort(self._reader.feed(chunk), check_line)
        if self._reader.number > self._most:
            raise TooManyJobs(f"more than {self._most:,} lines")

    def end(self) -> None:
        """The JSONL body has ended."""
        self._sort(self._reader.end(), check_line)

    def take_records(self, records: Iterable[Any]) -> None:
        """The jobs of a JSON body."""
        self._sort(enumerate(records), check_record)

    def take_rows(self, numbered: Iterable[tuple[int, dict[str, Any] | InvalidRequest]]) -> None:
        """The jobs of a table in manifest form, each with its number, or the reason why a row is none."""
        self._sort(numbered, check_row)

    def _sort(self, numbered: Iterable[tuple[int, Any]], check_one: Callable[..., CheckedJob]) -> None:
        for number, value in numbered:
            self.seen += 1
            if self.seen > self._most:
                raise TooManyJobs(f"more than {self._most:,} jobs")
            try:
                job = check_one(value, allowed_hosts=self._allowed_hosts, owner=self._owner, defaults=self._defaults)
            except InvalidRequest as error:
                self._spool.refuse(number, error.problems)
            else:
                self._keep(number, job)
