"""Who is dealt free slots."""

import uuid
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from models.lanes import Lane
from worker.fairness import FIRST, HALF_LIFE_S, Given, share


def lane(in_flight: int = 0, weight: int = 1, given: float = 0.0, account_id: uuid.UUID | None = None) -> Lane:
    return Lane(1, uuid.uuid4(), weight, in_flight, given=given, account_id=account_id)


def test_ten_photos_do_not_wait_behind_a_million() -> None:
    million, ten = lane(in_flight=50, given=50), lane()
    assert dict(share([million, ten], 10)) == {ten: 10}


def test_equals_share_equally() -> None:
    a, b = lane(), lane()
    assert dict(share([a, b], 6)) == {a: 3, b: 3}


def test_a_heavier_lane_gets_its_share() -> None:
    light, heavy = lane(weight=1), lane(weight=3)
    assert dict(share([light, heavy], 40)) == {light: 10, heavy: 30}


def test_the_newest_of_more_lanes_than_slots_goes_first() -> None:
    old, newest = [lane(given=30) for _ in range(200)], lane()
    assert dict(share([*old, newest], 8)) == {newest: 8}


def test_an_account_of_many_new_batches_does_not_go_before_others() -> None:
    many, small = uuid.uuid4(), lane(account_id=uuid.uuid4())
    assert dict(share([*(lane(account_id=many, given=1) for _ in range(200)), small], 8)) == {small: 8}
    dealt = share([*(lane(account_id=many) for _ in range(200)), small], 8)
    assert dict(dealt)[small] == 4


def test_as_many_lanes_as_there_are_take_turns() -> None:
    lanes, turns = [lane() for _ in range(40)], Counter[uuid.UUID]()
    for _ in range(100):
        dealt = share([replace(each, given=float(turns[each.lane_id])) for each in lanes], 4)
        turns.update({each.lane_id: count for each, count in dealt})
    assert set(turns.values()) == {10}


def test_what_was_given_is_forgotten_by_half_in_a_minute() -> None:
    now, lane_id = [0.0], uuid.uuid4()
    memory = Given(clock=lambda: now[0])
    memory.note([lane_id] * 8)
    now[0] = HALF_LIFE_S
    assert memory.lately(lane_id) == 4
    memory.note([lane_id])
    assert (memory.lately(lane_id), memory.lately(uuid.uuid4())) == (5, 0)


def test_who_was_given_nothing_for_long_takes_no_memory() -> None:
    now = [0.0]
    memory = Given(clock=lambda: now[0])
    memory.note([uuid.uuid4() for _ in range(1_000)])
    now[0] = 2 * HALF_LIFE_S
    memory.note([uuid.uuid4()])
    assert len(memory._lanes) == 1


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 5)), min_size=1, max_size=20), st.integers(0, 200))
def test_every_slot_is_dealt_and_nobody_is_two_steps_behind(lanes: list[tuple[int, int]], slots: int) -> None:
    all_lanes = [lane(in_flight, weight, given=FIRST * weight) for in_flight, weight in lanes]
    dealt = dict(share(all_lanes, slots))
    assert sum(dealt.values()) == slots
    after = {each: (each.in_flight + dealt.get(each, 0)) / each.weight for each in all_lanes}
    assert all(after[each] - 1 / each.weight <= min(after.values()) + 1e-9 for each in dealt)
