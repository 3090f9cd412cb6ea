"""Money and numbers: what is reserved, what was charged, who called how often."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from sandbox.phota.errors import PhotaError


@dataclass(frozen=True, slots=True)
class Charge:
    """Money taken, in US cents; `at` is Unix time in seconds."""

    job_id: str
    client_request_id: str | None
    operation: str
    outputs: int
    cents: int
    at: float

    def as_json(self) -> dict[str, Any]:
        fields = asdict(self)
        return fields | {"cost_usd": fields.pop("cents") / 100}


@dataclass
class Ledger:
    """Reserve, then settle. What is reserved is also what is in flight."""

    balance: int | None = None
    """Cents left, reservations not taken off; None: no end."""
    reserved: dict[str, int] = field(default_factory=dict)
    charges: list[Charge] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """By place and kind: `submit 500`."""
    throttled: int = 0
    max_in_flight: int = 0

    def reserve(self, job_id: str, cents: int) -> None:
        """Raise PhotaError 402 when the balance is short of it."""
        self.afford(cents)
        self.reserved[job_id] = cents
        self.max_in_flight = max(self.max_in_flight, len(self.reserved))

    def afford(self, cents: int) -> None:
        if self.balance is not None and self.balance - sum(self.reserved.values()) < cents:
            raise PhotaError(402, "INSUFFICIENT_CREDIT", "the prepaid balance is too low for this request")

    def release(self, job_id: str) -> None:
        self.reserved.pop(job_id, None)

    def settle(self, charge: Charge) -> None:
        self.release(charge.job_id)
        self.charges.append(charge)
        if self.balance is not None:
            self.balance -= charge.cents

    def report(self, *, with_charges: bool) -> dict[str, Any]:
        """As `GET /_sim/ledger` shows it."""
        cents = sum(charge.cents for charge in self.charges)
        totals = {"charges": len(self.charges), "outputs": sum(charge.outputs for charge in self.charges)}
        return {
            "totals": totals | {"cost_usd": cents / 100},
            "balance_usd": None if self.balance is None else self.balance / 100,
            "reserved_usd": sum(self.reserved.values()) / 100,
            "in_flight": len(self.reserved),
            "max_in_flight": self.max_in_flight,
            "throttled": self.throttled,
            "calls": dict(self.calls),
            "statuses": dict(self.statuses),
            "faults": dict(self.faults),
            "charges": [charge.as_json() for charge in self.charges] if with_charges else [],
        }
