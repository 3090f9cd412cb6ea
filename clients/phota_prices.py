"""What a job costs, in US dollars.

Phota states the prices of enhance and remix only; its answers hold no cost. Every other number is an assumption
on the dear side, so that a budget is rather kept too early than overspent. Source of each: docs/phota-api.md section 7.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from clients.phota_requests import Edit, Generate, Params, has_profiles, images_of, outputs

PRICES_VERSION = "2026-11-22"  # raise it with any number below; kept beside what was estimated with it


class Rate(NamedTuple):
    """USD per output image: plain, and with a trained profile recognised in it."""

    plain: Decimal
    identity: Decimal


@dataclass(frozen=True, slots=True)
class Estimate:
    """USD for one job: `low` if no profile is recognised, `high` if every output shows one."""

    low: Decimal
    high: Decimal


# Release notes 0.6.0: remix is billed like enhance.
_ENHANCE = Rate(Decimal("0.12"), Decimal("0.15"))

# ASSUMED. Plain: fal.ai's resale at 1K and 4K, 2K between the two. Identity: a quarter more, as for enhance
# (0.15 / 0.12), at least 0.03, rounded up to a cent. Taken for every model that is not metered: no other is known.
_FLAT: Mapping[str, Rate] = {
    "1K": Rate(Decimal("0.09"), Decimal("0.12")),
    "2K": Rate(Decimal("0.13"), Decimal("0.17")),
    "4K": Rate(Decimal("0.18"), Decimal("0.23")),
}

# ASSUMED, and wide. gpt-image-2 is metered by tokens at unpublished prices: per output from the cheapest image of
# gpt-image-1 (about 0.01, low quality) to twice its dearest (0.25, high quality, portrait), doubled with each
# resolution; each input image 0.02; identity a quarter more.
_METERED_LOW = Decimal("0.01")
_METERED_HIGH: Mapping[str, Decimal] = {"1K": Decimal("0.50"), "2K": Decimal("1.00"), "4K": Decimal("2.00")}
_METERED_INPUT = Decimal("0.02")
_METERED_IDENTITY = Decimal("1.25")


def estimate(params: Params) -> Estimate:
    """The range that one finished job costs."""
    if _is_metered(params):
        return Estimate(_METERED_LOW * outputs(params), _metered_high(params, is_identity=has_profiles(params)))
    rate = _rate(params)
    high = rate.identity if has_profiles(params) else rate.plain
    return Estimate(rate.plain * outputs(params), high * outputs(params))


def settled(params: Params, known_subjects: Mapping[str, int]) -> Decimal:
    """The cost of a finished job; never above `estimate(params).high`.

    `known_subjects`: profile id to appearances, summed over all outputs, so that it shows at most how many outputs
    hold somebody known: that many are charged with identity. A metered job counts as its high estimate.
    """
    high = estimate(params).high
    if _is_metered(params):
        return min(high, _metered_high(params, is_identity=any(known_subjects.values())))
    rate = _rate(params)
    recognised = min(outputs(params), sum(max(count, 0) for count in known_subjects.values()))
    return min(high, rate.identity * recognised + rate.plain * (outputs(params) - recognised))


def is_assumed(params: Params) -> bool:
    """Whether Phota does not state the price; then it may be another."""
    return isinstance(params, Edit | Generate)


def _is_metered(params: Params) -> bool:
    return isinstance(params, Edit | Generate) and params.base_model == "gpt-image-2"


def _rate(params: Params) -> Rate:
    return _FLAT[params.resolution] if isinstance(params, Edit | Generate) else _ENHANCE


def _metered_high(params: Params, *, is_identity: bool) -> Decimal:
    assert isinstance(params, Edit | Generate)  # noqa: S101  for the type checker
    dearest = _METERED_HIGH[params.resolution] * (_METERED_IDENTITY if is_identity else 1)
    return dearest * outputs(params) + _METERED_INPUT * len(images_of(params))
