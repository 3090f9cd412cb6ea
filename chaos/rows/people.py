"""People pause, resume, limit, cancel and retry batches at any moment, several at once."""

import contextlib
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from sqlalchemy import Connection, text

from chaos.campaign import Run, row
from models.inserts import BatchRef
from producer.batches import (
    BatchError,
    BatchLimits,
    cancel_batch,
    limit_batch,
    pause_batch,
    resume_batch,
    retry_batch,
)

Action = Callable[[Connection, BatchRef], object]

_ENOUGH = Decimal(1_000)  # USD
_LITTLE = Decimal("0.30")  # USD, for two more jobs
_COMMITTED = """
    SELECT budget_usd, (SELECT coalesce(sum(coalesce(cost_usd, CASE WHEN state <> 'queued' AND finished_at IS NULL
                                                               THEN estimate_usd END)), 0)
                        FROM jobs WHERE batch_id = batches.id)
    FROM batches WHERE id = :id
"""
_ACTIONS: dict[str, Action] = {
    "pause": lambda connection, batch: pause_batch(connection, batch.id),
    "resume": lambda connection, batch: resume_batch(connection, batch.id),
    "cancel": lambda connection, batch: cancel_batch(connection, batch.id),
    "retry": lambda connection, batch: retry_batch(connection, batch.id),
    "small budget": lambda connection, batch: _leave_little(connection, batch),
    "more budget": lambda connection, batch: _give_more(connection, batch),
}


@row("16", "paused, resumed, cancelled, retried at any moment", short=(200, 8), long=(3_000, 60))
def interfere(run: Run) -> None:
    """Two people at once; one batch in three has jobs that fail, so that there is something to retry."""
    faults = [{"match": "job", "fault": "fail", "rate": 0.05, "code": "MODEL_OVERLOADED"}]
    for end in ("failed model_overloaded", "cancelled", "cancelled cancelled"):
        run.may_end(end)
    with run.behaviour(faults=faults):
        for _ in range(run.size.rounds):
            batch = run.load.add(run.size.jobs // run.size.rounds)[0]
            with ThreadPoolExecutor(2) as people:
                seeds = [run.chance.random(), run.chance.random()]
                list(people.map(lambda seed, batch=batch: _meddle(run, batch, seed), seeds))
    for batch in run.load.batches:  # whatever waits for a person goes on
        _try(run, "more budget", batch)


def _meddle(run: Run, batch: BatchRef, seed: float) -> None:
    chance = random.Random(seed)
    for name in chance.choices(list(_ACTIONS), weights=[4, 4, 1, 2, 2, 2], k=4):
        time.sleep(seed * chance.random())
        if _try(run, name, batch):
            run.inject(name)


def _leave_little(connection: Connection, batch: BatchRef) -> None:
    """A budget just above what is spent and reserved: whatever exceeds it in the end was admitted in spite of it."""
    limit_batch(connection, batch.id, BatchLimits(budget_usd=_LITTLE))  # from here on nobody admits
    limit_batch(connection, batch.id, BatchLimits(budget_usd=_committed(connection, batch)[1] + _LITTLE))


def _give_more(connection: Connection, batch: BatchRef) -> None:
    """The oracle sees the budget that is left in the end; this looks at the one that goes."""
    budget, committed = _committed(connection, batch)
    if budget is not None and committed > budget:
        raise AssertionError(f"{committed} of a budget of {budget}")
    resume_batch(connection, batch.id, budget_usd=_ENOUGH)


def _committed(connection: Connection, batch: BatchRef) -> tuple[Decimal | None, Decimal]:
    """Its budget, and what is spent and under way."""
    budget, committed = connection.execute(text(_COMMITTED), {"id": batch.id}).one()
    return budget, committed


def _try(run: Run, name: str, batch: BatchRef) -> bool:
    """Whether it was done; a batch that has ended refuses most things, which is right."""
    with contextlib.suppress(BatchError), run.world.engine.begin() as connection:
        _ACTIONS[name](connection, batch)
        return True
    return False
