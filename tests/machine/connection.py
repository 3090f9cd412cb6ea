"""A connection to the rows in memory: it knows the statements of models/ by what they are, and takes no other."""

import copy
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from sqlalchemy import TextClause

from models import admission, claims, controls, dispatch, generations
from tests.machine import batch_statements as people
from tests.machine import statements as workers
from tests.machine.rows import Table
from tests.machine.statements import Found, Values

Statement = Callable[[Table, Values], Found]

STATEMENTS: Mapping[TextClause, Statement] = {
    claims._CLAIM: workers.claim,
    claims._KEEP: workers.keep,
    claims._MOVE: workers.move,
    claims._OUTCOME: workers.outcome,
    dispatch._WAKE: workers.wake,
    dispatch._POISON: workers.fail_poison,
    dispatch._DUE: workers.take_due,
    dispatch._ALONE: workers.take_alone,
    dispatch._RETRIES: workers.take_retries,
    dispatch._FORGIVE: workers.forgive,
    dispatch._LOST: workers.take_lost,
    dispatch._UNSENT: workers.unsend,
    dispatch._NOTIFY: lambda _table, _values: [],
    admission._ADMIT: people.admit,
    admission._CANCEL_LEFT: people.cancel_left,
    admission._EXPIRE: people.expire,
    admission._PAST_DEADLINE: people.expire_after_deadline,
    controls._CANCEL: people.cancel_batch,
    controls._CANCEL_QUEUED: people.cancel_queued,
    controls._CANCEL_UNCLAIMED: people.cancel_unclaimed,
    generations._SUPERSEDE: people.supersede,
    generations._INSERT: people.insert_generations,
}


class Result:
    """As much of SQLAlchemy's as models/ use."""

    def __init__(self, rows: Found) -> None:
        self._rows = rows
        self.rowcount = len(rows)

    def mappings(self) -> Found:
        return self._rows

    def scalars(self) -> list[Any]:
        return [next(iter(row.values())) for row in self._rows]

    def scalar(self) -> Any:
        return next(iter(self.scalars()), None)

    def __iter__(self) -> Iterator[SimpleNamespace]:
        return iter([SimpleNamespace(**row) for row in self._rows])


class MemoryConnection:
    """`changed`: statements that are to do something else than Postgres does, to see who notices.

    `watch` is told of each statement of a worker that has been executed: whose it was, and what it found.
    """

    def __init__(self, table: Table, *, changed: Mapping[TextClause, Statement] | None = None) -> None:
        self.table = table
        self.watch: Callable[[int, TextClause, Values, Found], None] | None = None
        self._statements = {**STATEMENTS, **changed} if changed else STATEMENTS

    def execute(self, statement: TextClause, values: Values | None = None) -> Result:
        return Result(self._found(self.table, statement, values or {}))

    def execute_for(self, worker: int, statement: TextClause, values: Values) -> Result:
        found = self._found(self.table, statement, values)
        if self.watch is not None:
            self.watch(worker, statement, values, found)
        return Result(found)

    def execute_in_vain(self, statement: TextClause, values: Values) -> Result:
        """In a transaction that will not commit."""
        undone = copy.deepcopy(self.table)
        found = self._found(undone, statement, values)
        self.table.transaction = undone.transaction
        self.table.aborted.add(str(undone.transaction))
        return Result(found)

    def _found(self, table: Table, statement: TextClause, values: Values) -> Found:
        table.transaction += 1
        return self._statements[statement](table, values)
