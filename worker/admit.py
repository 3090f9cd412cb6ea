"""Admission: all policy in one place, in the leading dispatcher's transaction."""

import uuid
from collections import Counter
from dataclasses import replace
from itertools import groupby

from sqlalchemy import Connection

from models import admission
from models.admission import Lane
from models.health import consume_reports, read_upstream, write_upstream
from settings import Settings
from worker import limits
from worker.fairness import share

_UNSTORED = 4  # times what is in flight may wait to be stored


def admit(connection: Connection, settings: Settings) -> list[uuid.UUID]:
    """Learn what workers reported, then let in what the limit, the gate, pauses and budgets allow."""
    admission.expire(connection)
    by_lane = admission.in_flight_by_lane(connection)
    in_flight = sum(by_lane.values())
    before = read_upstream(connection)
    state = limits.step(before, consume_reports(connection), in_flight=in_flight, ceiling=settings.concurrency_max)
    fixed = None if settings.concurrency == "auto" else settings.concurrency
    slots = limits.free_slots(state, in_flight=in_flight, fixed=fixed)
    if admission.count_unstored(connection) > _UNSTORED * max(in_flight, 32):
        slots = 0  # what is paid for piles up before S3: pay for no more
    lanes = admission.waiting_lanes(connection, by_lane)
    if over := [lane for lane in lanes if lane.is_over]:
        admission.cancel_left(connection, over)
    admitted = _fill(connection, [lane for lane in lanes if not lane.is_over], slots) if slots else []
    if admitted:
        state = limits.probing(state)
    if state != before:
        write_upstream(connection, state)
    return admitted


def _fill(connection: Connection, lanes: list[Lane], slots: int) -> list[uuid.UUID]:
    admitted: list[uuid.UUID] = []
    paid: set[uuid.UUID] = set()  # lanes whose money this tick has touched: what is left is read at the next
    for _, band in groupby(lanes, key=lambda lane: lane.priority):
        open_lanes = [lane for lane in band if lane.lane_id not in paid]
        admitted += _fill_band(connection, open_lanes, slots - len(admitted))
        paid |= {lane.lane_id for lane in open_lanes if lane.money_usd is not None}
    return admitted


def _fill_band(connection: Connection, lanes: list[Lane], slots: int) -> list[uuid.UUID]:
    """Deal, admit, and deal again what lanes without enough jobs or money left over."""
    admitted: list[uuid.UUID] = []
    while slots > len(admitted) and lanes:
        dealt = share(lanes, slots - len(admitted))
        rows = admission.admit(connection, dealt)
        admitted += [job_id for job_id, _ in rows]
        counts = Counter(lane_id for _, lane_id in rows)
        _pause_without_money(connection, dealt, counts)
        full = {lane.lane_id for lane, count in dealt if counts[lane.lane_id] == count}
        # their money is not known any more without reading it again; the next tick does
        lanes = [
            replace(lane, in_flight=lane.in_flight + counts[lane.lane_id])
            for lane in lanes
            if lane.lane_id in full and lane.money_usd is None
        ]
    return admitted


def _pause_without_money(connection: Connection, dealt: list[tuple[Lane, int]], counts: Counter[uuid.UUID]) -> None:
    """A batch whose next job its budget does not cover, with nothing in flight that could give some back."""
    for lane, _ in dealt:
        if lane.in_flight == 0 and not counts[lane.lane_id]:
            admission.pause_without_money(connection, lane)
