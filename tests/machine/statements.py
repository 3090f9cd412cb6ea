"""What workers and the dispatcher do to rows: each function is one statement of models/claims.py and dispatch.py."""

from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any

from models.claims import ClaimedJob
from models.dispatch import QUARANTINE
from models.states import WORKING_STATES
from tests.machine.rows import Row, Stored, Table

Values = Mapping[str, Any]
Found = list[dict[str, Any]]

_WORKING = frozenset(state.value for state in WORKING_STATES)
_AGES = ("batch_slug", "is_first_request", "request_age_s", "accepted_age_s", "claimed_in")
_PLAIN = [each.name for each in fields(ClaimedJob) if each.name not in _AGES]
_KEPT = ("remote_job_id", "poll_url", "result_urls")  # unless the move brings a new one


def claim(table: Table, values: Values) -> Found:
    wanted = values["state"]
    taken = table.where(lambda row: row.state == wanted and row.hold == "sent", ids=values["ids"])
    for row in taken:
        with table.changing(row):
            row.hold, row.is_woken = "held", False
            row.version += 1
            row.claims += 1
            row.due_at = table.now + values["lease"]
            if row.state == "submitting" and row.requested_at is None:
                row.requested_at = table.now
    return [_claimed(row, table) for row in taken]


def _claimed(row: Row, table: Table) -> dict[str, Any]:
    batch = table.batches.get(row.batch_id) if row.batch_id else None
    return {name: getattr(row, name) for name in _PLAIN} | {
        "batch_slug": batch.slug if batch else None,
        "is_first_request": None if row.requested_at is None else row.requested_at == table.now,
        "claimed_in": str(table.transaction),
        **ages(row, table),
    }


def ages(row: Row, table: Table) -> dict[str, Any]:
    return {
        "request_age_s": None if row.requested_at is None else table.now - row.requested_at,
        "accepted_age_s": 0.0 if row.accepted_at is None else table.now - row.accepted_at,
    }


def outcome(table: Table, values: Values) -> Found:
    return [{"status": "aborted" if values["id"] in table.aborted else "committed"}]


def keep(table: Table, values: Values) -> Found:
    found: Found = []
    for job_id, version in zip(values["ids"], values["versions"], strict=True):
        row = table.jobs[job_id]
        if row.version == version and row.hold == "held":
            row.due_at = table.now + values["lease"]
            found.append({"id": job_id, "version": version, **ages(row, table)})
    return found


def is_fenced(row: Row, move: Mapping[str, Any]) -> bool:
    """Whether a move may be written: by who claimed last, and still holds it."""
    return row.version == move["version"] and row.hold == "held"


def move(table: Table, values: Values) -> Found:
    return write(table, [each for each in values["moves"] if is_fenced(_of(table, each), each)], values)


def write(table: Table, taken: list[dict[str, Any]], values: Values) -> Found:
    """What follows once it is known which moves take."""
    for each in taken:
        row = _of(table, each)
        with table.changing(row):
            _move(row, each, table.now)
    moved = {each["id"] for each in taken}
    for each in values["outputs"]:
        if each["job_id"] in moved:
            add_output(table, each)
    for each in values["attempts"]:
        if each["job_id"] in moved:
            job_id = table.by_text[each["job_id"]]
            table.attempts[job_id] = table.attempts.get(job_id, 0) + 1
    return [{"id": _of(table, each).id} for each in taken]


def add_output(table: Table, output: Mapping[str, Any]) -> None:
    place = table.by_text[output["job_id"]], output["index"]
    if place in table.outputs:
        table.faults.append(f"the same output twice: {output}")
    table.outputs[place] = Stored(output["bucket"], output["key"], output["sha256"])


def _of(table: Table, each: Mapping[str, Any]) -> Row:
    return table.jobs[table.by_text[each["id"]]]


def _move(row: Row, move: Mapping[str, Any], now: float) -> None:
    is_due_now = row.is_woken and move["state"] == "running" and move["hold"] == "idle"
    due_s = 0.0 if is_due_now else move["due_s"]
    row.state, row.hold, row.attempt = str(move["state"]), str(move["hold"]), move["attempt"]
    row.claims, row.is_woken = 0, False
    row.due_at = None if due_s is None else now + due_s
    if row.state == "queued":
        row.requested_at = None
    if move["accepted"]:
        row.accepted_at = now
    for name in _KEPT:
        if move[name] is not None:
            setattr(row, name, move[name])
    if move["cost_usd"] is not None:
        row.cost_usd = Decimal(move["cost_usd"])
    row.error_code = move["error_code"]
    row.finished_at = now if row.is_final else None


def wake(table: Table, values: Values) -> Found:
    remote = values["remote_job_id"]
    woken = table.where(
        lambda row: (
            row.remote_job_id == remote
            and row.state == "running"
            and (row.hold == "held" or (row.hold == "idle" and _due_at(row) > table.now))
        )
    )
    for row in woken:
        row.is_woken = row.hold == "held"
        if row.hold == "idle":
            row.due_at = table.now
    return [{"id": row.id} for row in woken]


def fail_poison(table: Table, values: Values) -> Found:
    for row in _due(table):
        if row.claims >= values["limit"]:
            with table.changing(row):
                row.state, row.hold, row.due_at, row.finished_at = "failed", "idle", None, table.now
                row.error_code = "worker_lost"
                paid = row.estimate_usd if row.cost_usd is None else row.cost_usd
                row.cost_usd = None if row.requested_at is None else paid
    return []


def take_due(table: Table, values: Values) -> Found:
    rows = (row for row in _due(table) if row.claims < QUARANTINE and not _is_retry(row))
    return _sent(table, sorted(rows, key=_due_at)[: values["limit"]], values)


def take_alone(table: Table, values: Values) -> Found:
    suspects = table.where(lambda row: row.claims >= QUARANTINE and row.due_at is not None)
    is_taken = any(
        _due_at(row) > table.now and (row.hold == "sent" or (row.hold == "held" and row.claims > QUARANTINE))
        for row in suspects
    )
    waiting = sorted((row for row in _due(table) if row.claims >= QUARANTINE), key=_due_at)
    return _sent(table, [] if is_taken else waiting[:1], values)


def take_retries(table: Table, values: Values) -> Found:
    rows = (row for row in _due(table) if row.claims < QUARANTINE and _is_retry(row))
    taken = sorted(rows, key=lambda row: (row.priority, _due_at(row)))[: values["limit"]]
    return _sent(table, taken, values)


def forgive(table: Table, values: Values) -> Found:
    since = table.now - values["age"]
    for row in table.where(lambda row: row.requested_at is not None and row.requested_at > since, ids=values["ids"]):
        row.attempt = max(row.attempt - 1, 1)
    return []


def _is_retry(row: Row) -> bool:
    return row.state == "submitting" and row.attempt > 0


def _sent(table: Table, taken: list[Row], values: Values) -> Found:
    for row in taken:
        row.hold, row.due_at = "sent", table.now + values["resend"]
    return [{"id": row.id, "state": row.state} for row in taken]


def take_lost(table: Table, values: Values) -> Found:
    latest = table.now + values["resend"] - values["impatience"]
    rows = table.where(lambda row: row.state == values["state"] and row.hold == "sent")
    lost = [row for row in rows if table.now <= _due_at(row) <= latest]
    taken = sorted(lost, key=_due_at)[: values["limit"]]
    for row in taken:
        row.due_at = table.now + values["resend"]
    return [{"id": row.id, "state": row.state} for row in taken]


def unsend(table: Table, values: Values) -> Found:
    for row in table.where(lambda row: row.hold == "sent", ids=values["ids"]):
        row.hold, row.due_at = "idle", table.now + 1
    return []


def _due(table: Table) -> list[Row]:
    return table.where(lambda row: row.state in _WORKING and _due_at(row) <= table.now)


def _due_at(row: Row) -> float:
    assert row.due_at is not None, "no working state is without it"
    return row.due_at
