"""Statements that do not keep their promise: each leaves out what one of them is about. The machine has to notice."""

from collections.abc import Mapping

from sqlalchemy import TextClause

from models import claims, controls, dispatch, generations
from tests.machine import batch_statements as people
from tests.machine import statements as workers
from tests.machine.connection import Statement
from tests.machine.rows import Row, Table
from tests.machine.statements import Found, Values


def _without_version(table: Table, values: Values) -> Found:
    return workers.write(table, [each for each in values["moves"] if _row(table, each).hold == "held"], values)


def _without_hold(table: Table, values: Values) -> Found:
    fits = [each for each in values["moves"] if _row(table, each).version == each["version"]]
    return workers.write(table, fits, values)


def _with_all_outputs(table: Table, values: Values) -> Found:
    moved = workers.move(table, values)
    ids = {str(each["id"]) for each in moved}
    for output in values["outputs"]:
        if output["job_id"] not in ids:
            workers.add_output(table, output)
    return moved


def _claim_without_request(table: Table, values: Values) -> Found:
    """No call is remembered; each one passes for the first."""
    found = workers.claim(table, values)
    for each in found:
        row = _row(table, {"id": str(each["id"])})
        if row.state == "submitting":
            row.requested_at = None
            each["is_first_request"], each["request_age_s"] = True, 0.0
    return found


def _claim_unsent(table: Table, values: Values) -> Found:
    for row in table.where(lambda row: row.state == values["state"], ids=values["ids"]):
        row.hold = "sent"
    return workers.claim(table, values)


def _claim_without_version(table: Table, values: Values) -> Found:
    found = workers.claim(table, values)
    for each in found:
        _row(table, {"id": str(each["id"])}).version -= 1
        each["version"] -= 1
    return found


def _keep_any(table: Table, values: Values) -> Found:
    held = table.where(lambda row: row.hold == "held", ids=values["ids"])
    versions = dict(zip(values["ids"], values["versions"], strict=True))
    for row in held:
        row.due_at = table.now + values["lease"]
    return [{"id": row.id, "version": versions[row.id], **workers.ages(row, table)} for row in held]


def _nothing(_table: Table, _values: Values) -> Found:
    return []


def _cancel_called(table: Table, _values: Values) -> Found:
    rows = table.where(lambda row: row.state == "submitting" and row.hold != "held")
    return people._end(table, rows, "cancelled")


def _retry_anew(table: Table, values: Values) -> Found:
    found = people.supersede(table, values)
    for each in found:
        each["fate"] = "fresh"
    return found


def _row(table: Table, each: Mapping[str, str]) -> Row:
    return table.jobs[table.by_text[each["id"]]]


BROKEN: Mapping[str, Mapping[TextClause, Statement]] = {
    "a write without its version": {claims._MOVE: _without_version},
    "a write of what is not held": {claims._MOVE: _without_hold},
    "outputs of a refused write": {claims._MOVE: _with_all_outputs},
    "a claim that forgets the call": {claims._CLAIM: _claim_without_request},
    "a claim of what was not sent": {claims._CLAIM: _claim_unsent},
    "a claim under the old version": {claims._CLAIM: _claim_without_version},
    "a heartbeat for others": {claims._KEEP: _keep_any},
    "poison for ever": {dispatch._POISON: _nothing},
    "a cancel after the call": {controls._CANCEL_UNCLAIMED: _cancel_called},
    "a retry that pays again": {generations._SUPERSEDE: _retry_anew},
}
