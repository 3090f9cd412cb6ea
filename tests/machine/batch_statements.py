"""What admission and people do to rows: statements of models/admission.py, controls.py and generations.py.

Left out is what the machine's jobs have not: windows, budgets of accounts, contents done before.
"""

import uuid
from decimal import Decimal
from typing import Any

from models.generations import Fate
from models.states import JobState
from tests.machine.rows import FREE, Row, Table
from tests.machine.statements import Found, Values


def admit(table: Table, values: Values) -> Found:
    names = ("priorities", "lanes", "slots", "money", "budgets")
    admitted: list[Row] = []
    for priority, lane, slots, money, budget in zip(*(values[name] for name in names), strict=True):
        if _is_going(table, lane, budget):
            admitted += _payable(_waiting(table, lane, priority)[:slots], money)
    for row in admitted:
        with table.changing(row):
            row.state, row.hold = "submitting", "sent"
            row.admitted_at, row.due_at = table.now, table.now + values["resend"]
    return [{"job_id": row.id, "lane_id": row.lane_id, "fate": "admitted"} for row in admitted]


def _is_going(table: Table, lane: uuid.UUID, budget: Decimal | None) -> bool:
    batch = table.batches.get(lane)
    if batch is None:
        return True
    is_stopped = batch.paused_at is not None or batch.cancelled_at is not None or batch.finished_at is not None
    return not is_stopped and batch.budget_usd == budget


def _waiting(table: Table, lane: uuid.UUID, priority: int) -> list[Row]:
    rows = table.where(lambda row: row.state == "queued" and row.lane_id == lane and row.priority == priority)
    return sorted((row for row in rows if (row.due_at or 0) <= table.now), key=lambda row: (row.due_at, row.id))


def _payable(rows: list[Row], money: Decimal | None) -> list[Row]:
    able, used = [], FREE
    for row in rows:
        used += row.estimate_usd
        if money is None or used <= money:
            able.append(row)
    return able


def cancel_left(table: Table, values: Values) -> Found:
    return _end(table, table.where(lambda row: row.state == "queued" and row.lane_id in values["lanes"]), "cancelled")


def expire(table: Table, _values: Values) -> Found:
    late = table.where(lambda row: row.state == "queued" and row.expires_at is not None and row.expires_at <= table.now)
    return _end(table, late, "expired", code="expired")


def expire_after_deadline(table: Table, values: Values) -> Found:
    late = {
        batch.id
        for batch in table.batches.values()
        if batch.deadline is not None and batch.deadline <= values["now"] and batch.finished_at is None
    }
    rows = table.where(lambda row: row.state == "queued" and row.batch_id in late)
    return _end(table, rows, "expired", code="deadline")


def cancel_batch(table: Table, values: Values) -> Found:
    batch = table.batches[values["id"]]
    if batch.finished_at is None:
        batch.cancelled_at = table.now if batch.cancelled_at is None else batch.cancelled_at
        batch.paused_at = None
    return []


def cancel_queued(table: Table, values: Values) -> Found:
    rows = table.where(lambda row: row.batch_id == values["id"] and row.state == "queued")
    return _end(table, rows, "cancelled")


def cancel_unclaimed(table: Table, values: Values) -> Found:
    def is_uncalled(row: Row) -> bool:
        return row.state == "submitting" and row.requested_at is None and row.hold != "held"

    return _end(table, table.where(lambda row: row.batch_id == values["id"] and is_uncalled(row)), "cancelled")


def _end(table: Table, rows: list[Row], state: str, *, code: str | None = None) -> Found:
    for row in rows:
        with table.changing(row):
            row.state, row.hold, row.due_at, row.finished_at = state, "idle", None, table.now
            row.error_code = code or row.error_code
    return [{"id": row.id} for row in rows]


_FAILED = (JobState.FAILED, JobState.REJECTED, JobState.EXPIRED)


def supersede(table: Table, values: Values) -> Found:
    rows = table.where(lambda row: _is_wanted(row, values) and row.id > values["after"])
    picked = [(row, fate) for row in rows if (fate := fate_of(row, table, values)) not in (Fate.STUCK, Fate.REFUSED)]
    found: Found = []
    for row, fate in sorted(picked, key=lambda each: each[0].id)[: values["bite"]]:
        with table.changing(row):
            row.superseded_at = table.now
            row.cost_usd = row.cost_usd if fate is Fate.FRESH else None
        found.append({"id": row.id, "fate": fate.value, "idempotency_key": None})
    return found


def _is_wanted(row: Row, values: Values) -> bool:
    if row.batch_id != values["id"] or row.state not in _FAILED or row.superseded_at is not None:
        return False
    return row.state != "rejected" if values["code"] is None else row.error_code == values["code"]


def fate_of(row: Row, table: Table, values: Values) -> Fate:
    if row.output == "":
        return Fate.REFUSED
    if row.requested_at is None or row.cost_usd is None:
        return Fate.FRESH
    if values["pay_again"] and row.client_request_id != row.id.hex:
        return Fate.FRESH
    if row.poll_url is not None:
        return Fate.COLLECT
    if row.requested_at > table.now - values["known_for"]:
        return Fate.RESEND
    return Fate.FRESH if values["pay_again"] else Fate.STUCK


def insert_generations(table: Table, values: Values) -> Found:
    places: dict[str, int] = {}
    for next_ in values["generations"]:
        fate = Fate(next_["fate"])
        places[fate] = places.get(fate, 0) + 1
        new_id, old = uuid.UUID(next_["id"]), table.jobs[uuid.UUID(next_["old_id"])]
        due_at = table.now + (0 if fate is Fate.FRESH else places[fate] / 50)
        table.add(_next(old, new_id, fate, due_at=due_at, is_paid_again=values["pay_again"] and fate is Fate.FRESH))
    return []


_BEGINS_AS = {Fate.FRESH: "queued", Fate.COLLECT: "running", Fate.RESEND: "submitting"}
_SAME = ("account_id", "batch_id", "operation", "params", "output", "estimate_usd", "custom_id", "priority")


def _next(old: Row, new_id: uuid.UUID, fate: Fate, *, due_at: float, is_paid_again: bool) -> Row:
    kept: dict[str, Any] = {name: getattr(old, name) for name in _SAME}
    is_new, goes_on = fate is Fate.FRESH, fate is Fate.COLLECT
    return Row(
        **kept,
        id=new_id,
        due_at=due_at,
        is_paid_again=is_paid_again,
        generation=old.generation + 1,
        retry_of=old.id,
        state=_BEGINS_AS[fate],
        client_request_id=new_id.hex if is_new else old.client_request_id,
        admitted_at=None if is_new else old.admitted_at,
        requested_at=None if is_new else old.requested_at,
        accepted_at=old.superseded_at if goes_on else None,
        remote_job_id=old.remote_job_id if goes_on else None,
        poll_url=old.poll_url if goes_on else None,
    )
