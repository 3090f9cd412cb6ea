"""What dispatchers, callbacks and people do: the product's own functions on the rows in memory."""

import uuid
from typing import Any

from models import admission, controls, dispatch, generations
from models.claims import REQUEST_ID_AGE_S
from models.generations import Choice, Fate
from models.lanes import Lane
from models.states import Stage
from tests.machine.world import ACCOUNT, BATCH, World

_STAGES = (Stage.SUBMIT, Stage.POLL, Stage.STORE)
_MARGIN_S = 3600.0  # as producer/batches.py has it
_NO_ID = uuid.UUID(int=0)


def tick(world: World, pick: int) -> object:
    """A dispatcher's transaction, up to its commit. One whose answer is lost, or that dies there, sends nothing."""
    pick, fate = divmod(pick, 8)
    slots, ended = pick % 4, len(world.table.ended)
    connection: Any = world.database
    held = [
        row.id for row in world.table.where(lambda row: row.hold == "held" and (row.due_at or 0) <= world.table.now)
    ]
    dispatch.fail_poison(connection)
    due = dispatch.take_due(connection, limit=1 + pick % 5)
    retries = dispatch.take_retries(connection, limit=pick % 4)
    if slots == 0:  # as while the gate is closed
        dispatch.forgive(connection, retries, younger_than_s=40.0)
    due.setdefault(Stage.SUBMIT, []).extend(retries + _admit(world, slots))
    for job_id in held:
        if world.table.jobs[job_id].hold != "held":
            world.owners[job_id] = None
    if not any(due.values()) and len(world.table.ended) == ended:
        return None
    if fate:
        size = 1 + pick % 3
        chunks = [
            (stage, ids[start : start + size]) for stage, ids in due.items() for start in range(0, len(ids), size)
        ]
        (world.unsent if fate % 2 else world.queue).extend(chunks)
    return pick % 60, min(fate, 1 + fate % 2)


def _admit(world: World, slots: int) -> list[uuid.UUID]:
    connection: Any = world.database
    batch, table = world.batch, world.table
    money = None if batch.budget_usd is None else batch.budget_usd - table.spent_usd - table.reserved_usd
    lane = Lane(1, BATCH, 1, 0, money_usd=money, account_id=ACCOUNT, budget_usd=batch.budget_usd)
    admission.expire(connection, table.now)  # type: ignore[arg-type]
    if batch.cancelled_at is not None:
        admission.cancel_left(connection, [lane])
    return [row.job_id for row in admission.admit(connection, [(lane, slots)])]


def send_lost(world: World, pick: int) -> object:
    """Also while messages are only slow: an empty queue says nothing of those in workers' hands."""
    connection: Any = world.database
    stage = _STAGES[pick % 3]
    ids = dispatch.take_lost(connection, stage, limit=10)
    if not ids:
        return None
    world.unsent.append((stage, ids))
    return pick % 3


def call_back(world: World, pick: int) -> object:
    """Phota's callback, true or not, perhaps for the fifth time."""
    connection: Any = world.database
    remote = f"r{pick % 6}"
    return remote if dispatch.wake_by_remote_id(connection, remote) else None


def cancel(world: World, _pick: int) -> object:
    if world.batch.cancelled_at is not None:
        return None
    connection: Any = world.database
    return controls.cancel(connection, BATCH), len(world.table.jobs)


def retry(world: World, pick: int) -> object:
    """As `producer.batches.retry_batch`; of a batch that was cancelled nothing is retried."""
    if world.batch.cancelled_at is not None:
        return None
    code = "content_moderation" if pick % 4 == 3 else None
    choice = Choice(code, pay_again=pick % 8 == 0, known_for_s=REQUEST_ID_AGE_S - _MARGIN_S)
    connection: Any = world.database
    costs = {row.id: row.cost_usd for row in world.table.jobs.values()}
    old = generations.supersede(connection, BATCH, choice, after=_NO_ID)
    for each in old:
        if choice.pay_again and each.fate is Fate.FRESH and costs[each.id]:
            world.paid_again[world.root(world.table.jobs[each.id])] += 1
        generations.insert_generations(connection, [(world.new_id(), each)], pay_again=choice.pay_again)
    world.seen["retries"] += len(old)
    return (pick % 8, len(old)) if old else None
