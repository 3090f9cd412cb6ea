"""The controller finds a limit that nobody tells, and lives just below it. Time is simulated."""

import math
import random
from dataclasses import dataclass, field, replace

import pytest

from models.health import Report, UpstreamState
from worker import limits

_TICK_S = 0.05


@dataclass
class Upstream:
    """An API that works on `limit` jobs at once, each for about `latency_s`, and refuses others with `Retry-After`."""

    limit: int
    latency_s: float
    retry_after_s: float | None
    noise: float = 0.0  # share of calls that are refused whatever the load
    drops: tuple[float, int] = (math.inf, 0)  # when, to which limit
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    ends: list[float] = field(default_factory=list)
    calls: int = 0
    refused: int = 0
    done: int = 0

    def call(self, now: float, count: int) -> Report:
        room = max(0, self.limit - len(self.ends))
        lucky = sum(self.chance.random() >= self.noise for _ in range(count))
        taken = min(room, lucky)
        refused = count - taken
        self.ends += [now + self.latency_s * self.chance.uniform(0.8, 1.2) for _ in range(taken)]
        self.calls, self.refused = self.calls + count, self.refused + refused
        return Report(ok=taken, throttled=refused, retry_after_s=self.retry_after_s if refused else None)

    def work(self, now: float) -> None:
        self.limit = self.drops[1] if now >= self.drops[0] else self.limit
        left = [end for end in self.ends if end > now]
        self.done, self.ends = self.done + len(self.ends) - len(left), left


def drain(upstream: Upstream, seconds: float) -> None:
    """For so long, with more to do than there is room for."""
    state, report, now = UpstreamState(), Report(), 0.0
    while now < seconds:
        upstream.work(now)
        since_s = None if state.since_decrease_s is None else state.since_decrease_s + _TICK_S
        state = replace(state, since_decrease_s=since_s, closed_for_s=max(0.0, state.closed_for_s - _TICK_S))
        in_flight = len(upstream.ends)
        state = limits.step(state, [report] if report.ok or report.throttled else [], in_flight=in_flight, ceiling=256)
        report = upstream.call(now, limits.free_slots(state, in_flight=in_flight, fixed=None))
        now += _TICK_S


@pytest.mark.parametrize(("limit", "latency_s"), [(24, 2.0), (24, 48.0), (64, 2.0), (200, 5.0)])
@pytest.mark.parametrize("retry_after_s", [None, 1.0])
def test_nine_tenths_of_what_is_allowed_is_used(limit: int, latency_s: float, retry_after_s: float | None) -> None:
    upstream, seconds = Upstream(limit, latency_s, retry_after_s), 300 + 10 * latency_s
    drain(upstream, seconds)
    assert upstream.done >= 0.9 * limit * (seconds - latency_s) / latency_s
    assert upstream.refused <= 0.05 * upstream.calls


@pytest.mark.parametrize("retry_after_s", [None, 1.0])
def test_one_refusal_in_a_hundred_that_has_nothing_to_do_with_load_costs_little(retry_after_s: float | None) -> None:
    upstream = Upstream(1_000, 1.5, retry_after_s, noise=0.01)
    drain(upstream, 600)
    assert upstream.done >= 600 * 8  # a second: at a limit of 12 or more


def test_a_limit_that_drops_is_found_again() -> None:
    upstream = Upstream(100, 2.0, 1.0, drops=(60.0, 20))
    drain(upstream, 360)
    assert upstream.done >= 0.9 * 100 * 58 / 2 + 0.8 * 20 * 300 / 2
    assert upstream.refused <= 0.1 * upstream.calls
