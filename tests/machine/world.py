"""Everything around a handful of jobs: rows, Phota, storage, messages and worker processes. What happens: rules.py."""

import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import TextClause

from models import claims
from models.states import Stage
from tests.machine.bucket import Bucket
from tests.machine.connection import MemoryConnection, Statement
from tests.machine.phota import Phota
from tests.machine.process import Effect, Outside, Process
from tests.machine.rows import Batch, Row, Table
from tests.machine.statements import Found, Values

ACCOUNT, BATCH = uuid.UUID(int=1), uuid.UUID(int=2)
PRICE = Decimal("0.12")
_FIRST_JOB = 16
_PHOTO = {"image": "s3://photos/1.jpg"}
_PROMPT = {"prompt": "a boat", "base_model": "nb2", "resolution": "1K", "aspect_ratio": "auto"}


class Violation(AssertionError):  # noqa: N818 - what happened
    """A promise was broken."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a history begins with, out of a number."""

    jobs: int
    is_sync: bool
    is_inline: bool
    outputs: int
    is_short_of_money: bool
    is_hurried: bool

    @classmethod
    def of(cls, number: int) -> "Setting":
        drawn = []
        for choices in (3, 3, 2, 4, 4, 8):
            number, choice = divmod(number, choices)
            drawn.append(choice)
        jobs, sync, inline, outputs, money, hurry = drawn
        return cls(jobs + 1, sync == 1, inline == 1, 2 if outputs == 1 else 1, money == 1, hurry == 1)


class World:
    def __init__(self, number: int, *, changed: Mapping[TextClause, Statement] | None = None) -> None:
        """`number`: the setting, and what it leaves to chance. `changed`: see MemoryConnection."""
        self.setting = setting = Setting.of(number)
        self.price = PRICE * setting.outputs
        self.batch = Batch(BATCH, budget_usd=self.price * 2 if setting.is_short_of_money else None)
        self.table = Table(batches={BATCH: self.batch})
        self.database = MemoryConnection(self.table, changed=changed)
        self.database.watch = self._watch
        self.phota, self.bucket = Phota(), Bucket()
        self.outside = Outside(self.database, self.phota, self.bucket, setting.is_sync, setting.is_inline)
        self.unsent: list[tuple[Stage, list[uuid.UUID]]] = []  # committed, by a dispatcher that may be slow
        self.queue: list[tuple[Stage, list[uuid.UUID]]] = []
        self.travelling: list[Effect] = []  # calls whose caller has given up, or has died
        self.owners: dict[uuid.UUID, tuple[int, int] | None] = {}  # process and version of who alone may write
        self.paid_again: Counter[uuid.UUID] = Counter()  # by first generation: how often a person agreed to pay more
        self.ends: dict[uuid.UUID, tuple[object, ...]] = {}  # final rows as they were first seen
        self.seen: Counter[str] = Counter()  # what has happened, for the record
        self._seed = number
        self._born = 0
        self.processes = [self.new_process(), self.new_process()]
        for index in range(setting.jobs):
            self.table.add(self._job(index))

    def _job(self, index: int) -> Row:
        """The second one's input is read from storage first, the third expires if there is a hurry."""
        job_id = uuid.UUID(int=_FIRST_JOB + index)
        shared = {"num_output_images": self.setting.outputs, "output_format": "jpg"}
        return Row(
            id=job_id,
            account_id=ACCOUNT,
            batch_id=BATCH,
            operation="enhance" if index == 1 else "generate",
            params=shared | (_PHOTO if index == 1 else _PROMPT),
            output="s3://done/{batch}/{custom_id}-{index}.{ext}",
            estimate_usd=self.price,
            client_request_id=job_id.hex,
            due_at=0.0,
            custom_id=str(index),
            expires_at=60.0 if index == 2 and self.setting.is_hurried else None,
        )

    def new_process(self) -> Process:
        self._born += 1
        return Process(self._born, self.outside, self._seed + self._born)

    def new_id(self) -> uuid.UUID:
        return uuid.UUID(int=_FIRST_JOB + len(self.table.jobs))

    def advance(self, seconds: float) -> None:
        """The clocks of Postgres and of Phota. Those of workers' hosts are their own (StepLoop)."""
        self.table.now += seconds
        self.phota.now += seconds

    def root(self, row: Row) -> uuid.UUID:
        """Its first generation."""
        while row.retry_of is not None:
            row = self.table.jobs[row.retry_of]
        return row.id

    def close(self) -> None:
        """Bring everything that is still under way to its end."""
        for process in self.processes:
            process.die()

    @property
    def effects(self) -> list[Effect]:
        return [effect for process in self.processes for effect in process.effects]

    @property
    def is_over(self) -> bool:
        return all(row.is_final for row in self.table.jobs.values())

    def _watch(self, worker: int, statement: TextClause, values: Values, found: Found) -> None:
        """Who may write a row, told apart from its version: who claimed it last, until it is sent or written."""
        if statement is claims._CLAIM:
            for row in found:
                self.owners[row["id"]] = (worker, row["version"])
        elif statement is claims._KEEP:
            for row in found:
                self._demand_owner(row["id"], (worker, row["version"]))
        elif statement is claims._MOVE:
            took = {each["id"] for each in found}
            self.seen["refused writes"] += len(values["moves"]) - len(took)
            for move in values["moves"]:
                job_id = self.table.by_text[move["id"]]
                if job_id in took:
                    self._written(job_id, (worker, move["version"]), keeps=move["hold"] == "held")

    def _written(self, job_id: uuid.UUID, writer: tuple[int, int], *, keeps: bool) -> None:
        self._demand_owner(job_id, writer)
        if not keeps:
            self.owners[job_id] = None

    def _demand_owner(self, job_id: uuid.UUID, writer: tuple[int, int]) -> None:
        if (owner := self.owners.get(job_id)) != writer:
            raise Violation(f"a zombie wrote: {job_id} by {writer}, it is in the hands of {owner}")
