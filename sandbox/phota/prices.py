"""What an output costs, in whole US cents.

Published (release notes): enhance and remix 12, 15 with identity; profiles 290 and 149. Edit and generate: the form is
published, the numbers are not; they stand at a reseller's prices (9 at 1K, 18 at 4K), 2K between them, and with
identity at the quarter more that enhance shows. gpt-image-2 is metered in truth, and a little dearer here.
"""

from sandbox.phota.requests import Order

_FIXED = 12
_FLAT = {"1K": 9, "2K": 13, "4K": 18}
_METERED = {"1K": 10, "2K": 16, "4K": 24}
PROFILE = {"standard": 290, "fast": 149}


def price(order: Order, *, with_identity: int) -> int:
    """Cents for an order of which `with_identity` outputs show a known subject."""
    plain = _each(order)
    identity = -(-plain * 5 // 4)  # a quarter more, rounded up to a cent
    return plain * (order.count - with_identity) + identity * with_identity


def estimate(order: Order) -> int:
    """The most an order can cost, in cents."""
    return price(order, with_identity=order.count if order.profiles else 0)


def _each(order: Order) -> int:
    if order.operation in ("enhance", "remix"):
        return _FIXED
    return (_METERED if order.base_model == "gpt-image-2" else _FLAT)[order.resolution]
