"""What holds after every step, and what holds once faults have ended."""

import uuid
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

from models.dispatch import MAX_CLAIMS
from models.states import IN_FLIGHT_STATES, WORKING_STATES
from tests.machine.phota import picture
from tests.machine.rows import FREE, Row
from tests.machine.world import Violation, World
from worker.retry import MAX_ATTEMPTS

_WORKING = {state.value for state in WORKING_STATES}
_IN_FLIGHT = {state.value for state in IN_FLIGHT_STATES}
_UNCALLED = {"queued", "cancelled", "expired", "skipped"}
_GIVEN_UP = {"failed", "rejected"}


def check(world: World) -> None:
    """Raise Violation."""
    if fault := next(_faults(world), None):
        raise Violation(fault)


def check_end(world: World) -> None:
    """Once all is drained: every job is final, and was told of once. Raise Violation."""
    if left := [row for row in world.table.jobs.values() if not row.is_final]:
        raise Violation(f"never ends: {left}")
    if len(world.table.ended) != len(world.table.jobs):
        raise Violation(f"an end was not told: {world.table.ended}")
    check(world)


def _faults(world: World) -> Iterator[str]:
    yield from world.table.faults
    charges: Counter[uuid.UUID] = Counter()
    for row in world.table.jobs.values():
        yield from _faults_of(row, world)
        if row.client_request_id == row.id.hex:  # a generation that goes on with a call has the id of that one
            charges[world.root(row)] += world.phota.charges.get(row.client_request_id, 0)
    if strange := set(world.phota.charges) - {row.client_request_id for row in world.table.jobs.values()}:
        yield f"charged under an id that no job has: {strange}"
    for root, count in charges.items():
        if count > 1 + world.paid_again.get(root, 0):
            yield f"{root} was charged {count} times"
    yield from _faults_of_counts(world)


def _faults_of(row: Row, world: World) -> Iterator[str]:
    charged = world.phota.charges.get(row.client_request_id, 0)
    if charged > 1:
        yield f"one call was charged {charged} times: {row}"
    if charged and row.state in _UNCALLED:
        yield f"{row.state}, and charged: {row}"
    if charged and row.state in _GIVEN_UP and row.cost_usd is None and row.superseded_at is None:
        yield f"charged, and not known to be: {row}"
    if row.hold != "idle" and row.state not in _WORKING:
        yield f"in hand, with nothing to do: {row}"
    if row.claims > MAX_CLAIMS or row.attempt > MAX_ATTEMPTS:
        yield f"tried for ever: {row}"
    if row.error_code == "internal_error":
        yield f"the machine itself is at fault: {row}"
    if row.is_final:
        yield from _faults_of_final(row, world)


def _faults_of_final(row: Row, world: World) -> Iterator[str]:
    end = (row.state, row.version, row.finished_at, row.attempt, row.error_code)
    if world.ends.setdefault(row.id, end) != end:
        yield f"left a final state, {world.ends[row.id]}: {row}"
    if row.state == "succeeded":
        yield from _faults_of_success(row, world)


def _faults_of_success(row: Row, world: World) -> Iterator[str]:
    """Its objects are there, and are what this call was charged for."""
    if world.phota.charges.get(row.client_request_id, 0) != 1:
        yield f"succeeded without a charge: {row}"
    remote = [job.id for job in world.phota.jobs.values() if job.client_request_id == row.client_request_id]
    for index in range(world.setting.outputs):
        stored = world.table.outputs.get((row.id, index))
        if stored is None:
            yield f"succeeded without output {index}: {row}"
            return
        sha256, data = world.bucket.objects.get((stored.bucket, stored.key), ("", b""))
        if sha256 != stored.sha256 or data not in {picture(each, index) for each in remote}:
            yield f"{stored} is not the picture that was paid for: {data!r}"


def _faults_of_counts(world: World) -> Iterator[str]:
    table = world.table
    rows: dict[str, int] = {}
    for row in table.jobs.values():
        if row.superseded_at is None:
            rows[row.state] = rows.get(row.state, 0) + 1
    counts = {state: count.jobs for state, count in table.counts.items() if count.jobs}
    if rows != counts or sum(rows.values()) != world.setting.jobs:
        yield f"counts do not add up: {counts} of {rows}"
    if any(table.jobs[job_id].state != "succeeded" for job_id, _ in table.outputs):
        yield f"outputs of a job that has not succeeded: {table.outputs}"
    if len(table.ended) != len({job_id for job_id, _ in table.ended}):
        yield f"told twice: {table.ended}"
    budget = world.batch.budget_usd
    if budget is not None and (used := sum((_used_usd(row) for row in table.jobs.values()), FREE)) > budget:
        yield f"overspent: {used} of {budget}"


def _used_usd(row: Row) -> Decimal:
    """What it has cost, else what it may."""
    return row.cost_usd or (row.estimate_usd if row.state in _IN_FLIGHT else FREE)
