"""Batches: opened, joined by name, closed; paused, resumed, cancelled, retried.

BatchError
├── NoSuchBatch       not_found
├── BatchFinished     batch_finished: nothing is left to pause, resume or cancel
├── BatchCancelled    batch_cancelled: a batch that was given up stays so
└── BudgetReached     budget_reached: only more money sets it going again
"""

# ruff: noqa: N818 - the names say what happened, the tree that they are errors

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal

from sqlalchemy import Connection

from models import DEFAULT_ACCOUNT, Priority, controls, generations, inserts, new_id
from models.accounts import read_account
from models.claims import REQUEST_ID_AGE_S
from models.controls import HeldBatch, Money
from models.dispatch import notify
from models.generations import Choice, Fate, Superseded
from models.inserts import BatchRef
from models.windows import Window
from producer.ownership import Room
from producer.slugs import slug_of

LINGER_S = 60.0  # a batch joined by name closes when nothing has joined it for so long
_MARGIN_S = 3600.0  # a job that is sent again may have to wait for the gate first
_NO_ID = uuid.UUID(int=0)
_SMALLEST = Decimal("0.0001")


class BatchError(Exception):
    """A batch is not in the state for what was asked. `code` is the one of the HTTP API; nothing was changed."""

    code = "conflict"


class NoSuchBatch(BatchError):
    code = "not_found"


class BatchFinished(BatchError):
    code = "batch_finished"


class BatchCancelled(BatchError):
    code = "batch_cancelled"


class BudgetReached(BatchError):
    """Money in USD: the budget, what is spent and reserved of it, and the most that the next job can cost."""

    code = "budget_reached"

    def __init__(self, *, budget_usd: Decimal, used_usd: Decimal, next_usd: Decimal) -> None:
        super().__init__(
            f"${_cents(used_usd)} of the budget of ${_cents(budget_usd)} are used and the next job needs up to "
            f"${_cents(next_usd)}: it takes a budget of at least ${_cents(used_usd + next_usd)}"
        )
        self.budget_usd = budget_usd
        self.used_usd = used_usd
        self.next_usd = next_usd


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What holds a batch back; None of each: nothing does. Raise ValueError for a limit that is none.

    `budget_usd`: it pauses before it could cost more. `window`: nothing begins outside it. `deadline`, aware: what
    waits then expires. `max_failure_rate`, 0 to 1: beyond it, judged from 20 jobs on, the batch pauses.
    """

    budget_usd: Decimal | None = None
    window: Window | None = None
    deadline: datetime | None = None
    max_failure_rate: float | None = None

    def __post_init__(self) -> None:
        check_budget(self.budget_usd)
        if self.deadline is not None and self.deadline.tzinfo is None:
            raise ValueError("deadline must have a time zone")
        if self.max_failure_rate is not None and not 0 <= self.max_failure_rate <= 1:
            raise ValueError(f"max_failure_rate must be between 0 and 1, not {self.max_failure_rate:g}")


def open_batch(
    connection: Connection,
    name: str,
    *,
    account_id: uuid.UUID = DEFAULT_ACCOUNT,
    priority: Priority = Priority.NORMAL,
    limits: BatchLimits | None = None,
    webhook_url: str | None = None,
    webhook_events: Sequence[str] = (),
    webhook_digest: bool = False,
    metadata: Mapping[str, str] | None = None,
    run_key: str | None = None,
    schedule_id: uuid.UUID | None = None,
) -> BatchRef:
    """A new batch; jobs join it until `close_batch`. Names may repeat, ids and slugs do not.

    `run_key`: of the command that makes it, which goes on with it when it is given again.
    """
    limits = limits or BatchLimits()
    batch_id = new_id()
    fields = {
        "id": batch_id,
        "account_id": account_id,
        "name": name,
        "slug": slug_of(name, batch_id),
        "priority": priority,
        "budget_usd": limits.budget_usd,
        "admission_window": None if limits.window is None else str(limits.window),
        "deadline": limits.deadline,
        "max_failure_rate": limits.max_failure_rate,
        "run_key": run_key,
        "schedule_id": schedule_id,
        "webhook_url": webhook_url,
        "webhook_events": list(webhook_events),
        "webhook_digest": webhook_digest,
        "metadata": dict(metadata or {}),
    }
    return inserts.insert_batch(connection, fields)


def join_batch(connection: Connection, name: str, *, account_id: uuid.UUID = DEFAULT_ACCOUNT) -> BatchRef:
    """The batch that was opened so under that name and lingers for more, else a new one.

    It closes by itself once nothing has joined it for `LINGER_S`.
    """
    batch = inserts.lock_joinable_batch(connection, account_id, name)
    if batch is None:
        batch = open_batch(connection, name, account_id=account_id)
    inserts.close_batch(connection, batch.id, after_s=LINGER_S)
    return batch


def close_batch(connection: Connection, batch: BatchRef) -> None:
    """Nothing joins any more: it may finish. Safe to repeat."""
    inserts.close_batch(connection, batch.id)
    notify(connection)


def pause_batch(connection: Connection, batch_id: uuid.UUID) -> None:
    """Admit nothing more of it; what is in flight is still collected. One that is paused stays as it is.

    Raise NoSuchBatch, BatchFinished, BatchCancelled.
    """
    _going(_held(connection, batch_id))
    controls.pause(connection, batch_id, reason="user")
    notify(connection)


def resume_batch(connection: Connection, batch_id: uuid.UUID, *, budget_usd: Decimal | None = None) -> None:
    """Admit again, with a new budget if one is given. One that is not paused goes on as before.

    Raise BudgetReached if it was paused for its budget and that does not cover its next job; ValueError for a budget
    that is none; NoSuchBatch, BatchFinished, BatchCancelled.
    """
    check_budget(budget_usd)
    batch = _going(_held(connection, batch_id))
    budget = batch.budget_usd if budget_usd is None else budget_usd
    if batch.paused_reason == "budget" and budget is not None:
        _check_covered(budget, controls.read_money(connection, batch_id))
    controls.resume(connection, batch_id, budget_usd=budget_usd)
    notify(connection)


def limit_batch(connection: Connection, batch_id: uuid.UUID, limits: BatchLimits) -> None:
    """None of each keeps the one it has; one that is paused stays so. Raise as `pause_batch`."""
    _going(_held(connection, batch_id))
    controls.limit(
        connection,
        batch_id,
        budget_usd=limits.budget_usd,
        window=None if limits.window is None else str(limits.window),
        deadline=limits.deadline,
        max_failure_rate=limits.max_failure_rate,
    )
    notify(connection)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Jobs that were cancelled just now, and those in flight that are, or may be, paid for and still collected."""

    cancelled: int
    in_flight: int


def cancel_batch(connection: Connection, batch_id: uuid.UUID) -> Cancelled:
    """Cancel every job that Phota was not called for; the others are collected. Safe to repeat until it has ended.

    Raise NoSuchBatch, BatchFinished.
    """
    batch = _held(connection, batch_id)
    if batch.is_finished:
        raise BatchFinished(f"the batch has ended already: {batch.status}")
    cancelled = controls.cancel(connection, batch_id)
    notify(connection)
    return Cancelled(cancelled, controls.count_in_flight(connection, batch_id))


@dataclass(frozen=True, slots=True)
class Retried:
    """Numbers of jobs. `left` and `refused` by error code.

    `retried`: called anew. `collected_again`: paid or perhaps paid, asked for with their old `client_request_id`, so
    that nothing more is charged. `left`: perhaps paid, and too old to ask for, or the same is being done just now: only
    `pay_again` calls them anew. `refused`: never queued, only recorded as refused; they have to be corrected and
    submitted.
    """

    retried: int
    collected_again: int
    left: dict[str, int]
    refused: dict[str, int]


def retry_batch(
    connection: Connection, batch_id: uuid.UUID, *, code: str | None = None, pay_again: bool = False
) -> Retried:
    """Give failed and expired jobs, or those of one error code (rejected ones too), a next generation each.

    A batch that had ended runs again. `pay_again`: call anew also what may have been charged; it may be charged once
    more. Raise NoSuchBatch, BatchCancelled, or QueueFull, which must end the transaction.
    """
    batch = _held(connection, batch_id)
    if batch.is_cancelled:
        raise BatchCancelled("the batch was cancelled; what was given up is not retried")
    choice = Choice(code=code, pay_again=pay_again, known_for_s=REQUEST_ID_AGE_S - _MARGIN_S)
    left = generations.count_left(connection, batch_id, choice)
    room = _room(connection, batch.account_id)
    fates = Counter(old.fate for bite in _superseded(connection, batch_id, choice) for old in bite)
    room.take(fates[Fate.FRESH])
    if fates:
        generations.reopen(connection, batch_id)
        notify(connection)
    return Retried(
        retried=fates[Fate.FRESH],
        collected_again=fates[Fate.COLLECT] + fates[Fate.RESEND],
        left={code: jobs for fate, code, jobs in left if fate is Fate.STUCK},
        refused={code: jobs for fate, code, jobs in left if fate is Fate.REFUSED},
    )


def _superseded(connection: Connection, batch_id: uuid.UUID, choice: Choice) -> Iterator[list[Superseded]]:
    """A bite at a time, each with its next generations in the table."""
    after = _NO_ID
    while bite := generations.supersede(connection, batch_id, choice, after=after):
        renewed = [(new_id(), old) for old in bite]
        generations.insert_generations(connection, renewed, pay_again=choice.pay_again)
        after = max(old.id for old in bite)
        yield bite


def _room(connection: Connection, account_id: uuid.UUID) -> Room:
    account = read_account(connection, account_id)
    assert account is not None, "a batch belongs to one"  # noqa: S101
    return Room(connection, account)


def _held(connection: Connection, batch_id: uuid.UUID) -> HeldBatch:
    batch = controls.hold_batch(connection, batch_id)
    if batch is None:
        raise NoSuchBatch("no such batch")
    return batch


def _going(batch: HeldBatch) -> HeldBatch:
    """The batch, if it is neither over nor given up."""
    if batch.is_finished:
        raise BatchFinished(f"the batch has ended already: {batch.status}")
    if batch.is_cancelled:
        raise BatchCancelled("the batch was cancelled; what is paid for is still collected")
    return batch


def _check_covered(budget_usd: Decimal, money: Money) -> None:
    if money.next_usd is not None and money.used_usd + money.next_usd > budget_usd:
        raise BudgetReached(budget_usd=budget_usd, used_usd=money.used_usd, next_usd=money.next_usd)


def check_budget(budget_usd: Decimal | None) -> None:
    """Raise ValueError for a sum that is no budget."""
    if budget_usd is None:
        return
    if not (budget_usd.is_finite() and 0 <= budget_usd < 100_000_000 and budget_usd == budget_usd.quantize(_SMALLEST)):
        raise ValueError(f"budget_usd must be between 0 and 99,999,999 with at most four decimals, not {budget_usd:g}")


def _cents(usd: Decimal) -> Decimal:
    """Rounded up: a budget of what is told must do."""
    return usd.quantize(Decimal("0.01"), ROUND_CEILING)
