"""What an estimate warns of."""

from decimal import Decimal
from typing import Any

import pytest

from producer.estimating import Repeats, Tally
from producer.jobs import check

IMAGE = {"image": "https://example.com/1.jpg"}


def tally(*jobs: dict[str, Any]) -> Tally:
    found = Tally()
    for number, job in enumerate(jobs):
        found.add(number, check(job))
    return found


def enhance(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {"operation": "enhance", "params": {"image": f"https://example.com/{number}.jpg"}, **fields}


def codes(found: Tally, *, budget_usd: str | None = None, room: int | None = None) -> set[str]:
    budget = None if budget_usd is None else Decimal(budget_usd)
    return {warning.code for warning in found.warnings(budget_usd=budget, room=room)}


def test_the_range_is_the_sum_of_the_jobs() -> None:
    found = tally(enhance(), {"operation": "enhance", "params": IMAGE | {"profile_ids": ["a"], "num_output_images": 2}})
    assert (found.jobs, found.low_usd, found.high_usd) == (2, Decimal("0.36"), Decimal("0.42"))


@pytest.mark.parametrize(
    ("budget", "code"), [("0.11", "budget_below_low"), ("0.13", "budget_below_high"), ("0.15", None)]
)
def test_a_budget_that_may_not_do_is_told(budget: str, code: str | None) -> None:
    found = tally({"operation": "enhance", "params": IMAGE | {"profile_ids": ["a"]}})
    told = {each for each in codes(found, budget_usd=budget) if each.startswith("budget")}
    assert told == ({code} if code else set())


def test_prices_that_phota_does_not_state_are_told() -> None:
    assert "assumed_prices" in codes(tally({"operation": "generate", "params": {"prompt": "a boat"}}))
    assert codes(tally(enhance())) == {"enhance_2k"}


def test_the_same_photo_twice_is_told_but_not_the_same_prompt() -> None:
    assert "duplicate_inputs" in codes(tally(enhance(1, custom_id="a"), enhance(1, custom_id="b")))
    assert "duplicate_inputs" not in codes(tally(enhance(1), enhance(2)))
    assert "duplicate_inputs" not in codes(tally(*[{"operation": "generate", "params": {"prompt": "a boat"}}] * 2))


def test_jobs_that_come_too_late_or_find_no_room_are_told() -> None:
    found = tally(enhance(1, expires_at="2020-01-01T00:00:00Z"), enhance(2))
    assert {"expires_at_once", "queue_full"} <= codes(found, room=1)
    assert "queue_full" not in codes(found, room=2)


def test_repeats_are_counted_up_to_a_million_values() -> None:
    repeats = Repeats()
    for number in range(1_000):
        repeats.add(str(number % 400).encode())
    assert repeats.count() == 600
    for number in range(1_000_000):
        repeats.add(str(number).encode())
    assert repeats.count() == 0
