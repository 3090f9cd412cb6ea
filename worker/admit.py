"""Admission: all policy in one place, in the leading dispatcher's transaction."""

import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection, text

from models import admission, dispatch
from models.admission import Admission, Fate
from models.health import consume_reports, read_upstream, write_upstream
from models.lanes import Lane, in_flight_by_lane, waiting_lanes
from models.outlook import likely_s
from models.states import Priority
from settings import Settings
from worker import limits
from worker.fairness import Given, share
from worker.opening import room_s
from worker.retry import OUTAGE_S

_UNSTORED = 4  # times what is in flight may wait to be stored
_ROUNDS = 50  # of dealing in one tick: what was done before fills no slot, and there may be thousands of it


def admit(
    connection: Connection, settings: Settings, *, now: datetime | None = None, given: Given | None = None
) -> list[uuid.UUID]:
    """Learn what workers reported, then let in what the limit, the gate, pauses, windows and budgets allow.

    `now`: for windows and deadlines; None: the database's clock. `given`: to whom before; is told of this time.
    """
    given = given or Given()
    now = now or connection.execute(text("SELECT now()")).scalar_one()
    admission.expire(connection, now)
    by_lane = in_flight_by_lane(connection)
    in_flight = sum(by_lane.values())
    before = read_upstream(connection)
    state = limits.step(before, consume_reports(connection), in_flight=in_flight, ceiling=settings.concurrency_max)
    fixed = None if settings.concurrency == "auto" else settings.concurrency
    slots = limits.free_slots(state, in_flight=in_flight, fixed=fixed)
    if admission.count_unstored(connection) > _UNSTORED * max(in_flight, 32):
        slots = 0  # what is paid for piles up before S3: pay for no more
    lanes = waiting_lanes(connection, by_lane)
    if over := [lane for lane in lanes if lane.is_over]:
        admission.cancel_left(connection, over)
    roomy = [
        replace(lane, room_s=room_s(lane, now), given=max(given.lately(lane.lane_id), lane.in_flight))
        for lane in lanes
        if not lane.is_over
    ]
    waiting = [lane for lane in roomy if lane.room_s is None or lane.room_s > 0]
    kept = limits.kept_slots(state, fixed=fixed)
    admitted = _fill(connection, waiting, slots, state.latency_s, kept=kept) if slots else []
    given.note(row.lane_id for row in admitted)
    if admitted:
        state = limits.probing(state)
    if state != before:
        write_upstream(connection, state)
    return [row.job_id for row in admitted]


def admit_retries(connection: Connection, *, limit: int) -> list[uuid.UUID]:
    """Calls to be repeated, `limit` at most: none while the gate is closed, one as a probe where it is due for it.

    A probe costs no attempt: an outage would use up those of the few jobs that are left of a batch. Not for ever: a
    job that nothing helps, alone in the end, looks like an outage too.
    """
    state = read_upstream(connection)
    if state.closed_for_s > 0:
        return []
    retries = dispatch.take_retries(connection, limit=1 if state.closed_reason else limit)
    if retries and state.closed_reason:
        dispatch.forgive(connection, retries, younger_than_s=OUTAGE_S)
        write_upstream(connection, limits.probing(state))
    return retries


def _fill(
    connection: Connection, lanes: list[Lane], slots: int, latency_s: Mapping[str, float], *, kept: int
) -> list[Admission]:
    """`kept`: of the slots, how many are for interactive jobs alone."""
    admitted: list[Admission] = []
    paid: set[uuid.UUID] = set()  # batches and accounts whose money this tick has touched: what is left is read anew
    for priority, band in groupby(lanes, key=lambda lane: lane.priority):
        free = slots if priority == Priority.INTERACTIVE else slots - kept
        open_lanes = [lane for lane in band if not _payers(lane) & paid]
        rows = _fill_band(connection, open_lanes, free - len(admitted), latency_s)
        admitted += rows
        begun = {row.lane_id for row in rows}
        paid |= {payer for lane in open_lanes if lane.lane_id in begun for payer in _payers(lane)}
    return admitted


def _payers(lane: Lane) -> set[uuid.UUID]:
    """Whose budgets it spends."""
    by_batch = {lane.lane_id} if lane.money_usd is not None else set()
    return by_batch | ({lane.account_id} if lane.account_id and lane.account_usd is not None else set())


def _fill_band(
    connection: Connection, lanes: list[Lane], slots: int, latency_s: Mapping[str, float]
) -> list[Admission]:
    """Deal, admit, and deal again what lanes without enough jobs or money, or done before, left over."""
    admitted: list[Admission] = []
    for _ in range(_ROUNDS):
        if slots <= len(admitted) or not lanes:
            break
        able = [lane for lane in lanes if _may_begin(lane, latency_s)]
        dealt = share(able or lanes, slots - len(admitted))
        if not dealt:
            break
        rows = admission.admit(connection, dealt, latency_s=latency_s)
        fresh = [row for row in rows if row.fate is Fate.ADMITTED]
        admitted += fresh
        new, moved = Counter(row.lane_id for row in fresh), Counter(row.lane_id for row in rows)
        _pause_without_money(connection, dealt, moved)
        if not able:  # looked at for what needs neither money nor time: some of thousands do for a tick
            break
        spent = {lane.lane_id for lane, count in dealt if moved[lane.lane_id] < count}
        # money that was used is not known any more without reading it again; the next tick does
        spent |= {payer for lane, _ in dealt if new[lane.lane_id] for payer in _payers(lane)}
        lanes = [
            _with(lane, new[lane.lane_id]) if lane.lane_id in new else lane
            for lane in lanes
            if not ({lane.lane_id} | _payers(lane)) & spent
        ]
    return admitted


def _with(lane: Lane, begun: int) -> Lane:
    most = None if lane.most is None else max(0, lane.most - begun)
    return replace(lane, in_flight=lane.in_flight + begun, given=lane.given + begun, most=most)


def _may_begin(lane: Lane, latency_s: Mapping[str, float]) -> bool:
    """Whether its next job is likely to begin if it is dealt a slot; of others all slots might come to nothing.

    A batch without money is one of them while something of it is in flight: after that it pauses at its turn.
    """
    if lane.most == 0 or (lane.room_s is not None and likely_s(lane.operation, latency_s) > lane.room_s):
        return False
    purses = (lane.account_usd, lane.money_usd if lane.in_flight else None)
    return lane.next_usd is None or all(usd is None or lane.next_usd <= usd for usd in purses)


def _pause_without_money(connection: Connection, dealt: list[tuple[Lane, int]], counts: Counter[uuid.UUID]) -> None:
    """A batch whose next job its budget does not cover, with nothing in flight that could give some back."""
    for lane, _ in dealt:
        if lane.in_flight == 0 and not counts[lane.lane_id]:
            admission.pause_without_money(connection, lane)
