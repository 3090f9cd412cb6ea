"""What jobs would cost, and what their sender may not have meant; nothing is written or spent."""

from array import array
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from pydantic_core import to_json

from clients.phota_prices import is_assumed
from clients.phota_requests import Operation, images_of
from producer.jobs import CheckedJob

_BUCKETS = 256
_MOST_COMPARED = 1_000_000  # jobs: 8 bytes of each are kept


@dataclass(frozen=True, slots=True)
class Caution:
    """`code` is stable; `message` is for people."""

    code: str
    message: str


class Tally:
    """Jobs counted one by one. Money in USD."""

    def __init__(self) -> None:
        self.jobs = 0
        self.low_usd = Decimal(0)
        self.high_usd = Decimal(0)
        self.operations: set[Operation] = set()
        self._now = datetime.now(UTC)
        self._assumed = 0
        self._enhanced = 0
        self._expired = 0
        self._inputs = Repeats()

    def add(self, _number: int, job: CheckedJob) -> None:
        self.jobs += 1
        self.low_usd += job.low_usd
        self.high_usd += job.high_usd
        self.operations.add(job.params.operation)
        self._assumed += is_assumed(job.params)
        self._enhanced += job.params.operation is Operation.ENHANCE
        self._expired += job.spec.expires_at is not None and job.spec.expires_at <= self._now
        if images_of(job.params):
            self._inputs.add(to_json([job.params.operation, job.params.body()]))

    def warnings(self, *, budget_usd: Decimal | None, room: int | None) -> list[Caution]:
        """`room`: how many more jobs the account may have waiting; None: any number."""
        found = [
            self._budget(budget_usd),
            self._queue(room),
            self._of(self._inputs.count(), "duplicate_inputs", "repeat another job: same operation, images and params"),
            self._of(self._expired, "expires_at_once", "have an expires_at that has passed: they would not be begun"),
            self._of(self._assumed, "assumed_prices", "are edits or generations, whose price Phota does not state"),
            self._of(self._enhanced, "enhance_2k", "are enhance, which returns 2K at most, whatever goes in"),
        ]
        return [warning for warning in found if warning is not None]

    def _of(self, jobs: int, code: str, text: str) -> Caution | None:
        return Caution(code, f"{jobs} of {self.jobs} jobs {text}.") if jobs else None

    def _budget(self, budget_usd: Decimal | None) -> Caution | None:
        if budget_usd is None or budget_usd >= self.high_usd:
            return None
        if budget_usd < self.low_usd:
            text = f"The budget of ${budget_usd:.2f} is below the low estimate of ${self.low_usd:.2f}: it will pause."
            return Caution("budget_below_low", text)
        text = f"The budget of ${budget_usd:.2f} is below the high estimate of ${self.high_usd:.2f}: it may pause."
        return Caution("budget_below_high", text)

    def _queue(self, room: int | None) -> Caution | None:
        if room is None or self.jobs <= room:
            return None
        return Caution("queue_full", f"The account's queue has room for {room} jobs, not for {self.jobs}.")


class Repeats:
    """Counts values that were there before, by 8 bytes of each; beyond a million it says nothing.

    In many small arrays, so that looking for equal ones takes no more than a small set at a time.
    """

    def __init__(self) -> None:
        self._hashes = [array("q") for _ in range(_BUCKETS)]
        self._values = 0

    def add(self, value: bytes) -> None:
        self._values += 1
        if self._values <= _MOST_COMPARED:
            digest = hash(value)
            self._hashes[digest % _BUCKETS].append(digest)

    def count(self) -> int:
        if self._values > _MOST_COMPARED:
            return 0
        return sum(len(bucket) - len(set(bucket)) for bucket in self._hashes)
