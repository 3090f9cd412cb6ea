"""Who is dealt free slots."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from models.lanes import Lane
from worker.fairness import share


def lane(in_flight: int = 0, weight: int = 1) -> Lane:
    return Lane(priority=1, lane_id=uuid.uuid4(), weight=weight, in_flight=in_flight, money_usd=None)


def test_ten_photos_do_not_wait_behind_a_million() -> None:
    million, ten = lane(in_flight=50), lane()
    assert dict(share([million, ten], 10)) == {ten: 10}


def test_equals_share_equally() -> None:
    a, b = lane(), lane()
    assert dict(share([a, b], 6)) == {a: 3, b: 3}


def test_a_heavier_lane_gets_its_share() -> None:
    light, heavy = lane(weight=1), lane(weight=3)
    assert dict(share([light, heavy], 40)) == {light: 10, heavy: 30}


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 5)), min_size=1, max_size=20), st.integers(0, 200))
def test_every_slot_is_dealt_and_nobody_is_two_steps_behind(lanes: list[tuple[int, int]], slots: int) -> None:
    all_lanes = [lane(in_flight, weight) for in_flight, weight in lanes]
    dealt = dict(share(all_lanes, slots))
    assert sum(dealt.values()) == slots
    after = {each: (each.in_flight + dealt.get(each, 0)) / each.weight for each in all_lanes}
    assert all(after[each] - 1 / each.weight <= min(after.values()) + 1e-9 for each in dealt)
