"""What jobs cost, before and after."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.phota_prices import Estimate, estimate, settled
from clients.phota_requests import RESOLUTIONS, Params, validate

PHOTO = "https://example.com/photo.jpg"


def enhance(**params: Any) -> Params:
    return validate("enhance", {"image": PHOTO, **params})


def test_enhance_costs_what_the_release_notes_say() -> None:
    assert estimate(enhance(num_output_images=2)) == Estimate(Decimal("0.24"), Decimal("0.24"))
    assert estimate(enhance(profile_ids=["a"])) == Estimate(Decimal("0.12"), Decimal("0.15"))


def test_identity_is_paid_where_somebody_was_recognised() -> None:
    job = enhance(profile_ids=["a", "b"], num_output_images=4)
    assert settled(job, {}) == Decimal("0.48")
    assert settled(job, {"a": 1, "b": 0}) == Decimal("0.51")
    assert settled(job, {"a": 4, "b": 4}) == Decimal("0.60")


def test_nobody_can_be_recognised_without_a_profile() -> None:
    assert settled(enhance(), {"a": 1}) == Decimal("0.12")


def test_a_profile_in_the_prompt_counts() -> None:
    job = validate("generate", {"prompt": "[[a]] at sea", "resolution": "4K"})
    assert estimate(job) == Estimate(Decimal("0.18"), Decimal("0.23"))


@pytest.mark.parametrize(("resolution", "high"), [("1K", "0.52"), ("4K", "2.02")])
def test_a_metered_model_is_a_wide_guess(resolution: str, high: str) -> None:
    params = {"prompt": "warmer", "images": [PHOTO], "base_model": "gpt-image-2", "resolution": resolution}
    assert estimate(validate("edit", params)) == Estimate(Decimal("0.01"), Decimal(high))


models = st.sampled_from([(model, size) for model, sizes in RESOLUTIONS.items() for size in sizes])


@given(models, st.integers(1, 4), st.sampled_from(["cat", "[[a]]"]), st.dictionaries(st.text(), st.integers(-1, 9)))
def test_a_bill_is_never_above_its_estimate(
    model: tuple[str, str], count: int, prompt: str, subjects: dict[str, int]
) -> None:
    params = {"prompt": prompt, "base_model": model[0], "resolution": model[1], "num_output_images": count}
    job = validate("generate", params)
    cost = estimate(job)
    assert 0 < cost.low <= settled(job, subjects) <= cost.high
