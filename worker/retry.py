"""When a job is tried again: pure functions, nothing else decides it.

In words: a stage that fails is tried again after a random time of up to 2, 4, 8, 16, 32, 60, 60 … seconds (full
jitter, so that a fleet does not come back in step), `MAX_ATTEMPTS` times. Waiting is not failing: an unfinished poll,
a 429 or a closed gate costs no attempt and is bounded by age alone. Of all calls that hand jobs to Phota at most a
tenth are repetitions of failed ones: what exceeds that waits longer (`RetryBudget`).
"""

import random
from dataclasses import dataclass

BASE_S = 2.0
CAP_S = 60.0
MAX_ATTEMPTS = 8  # with full jitter about two minutes in the mean, four at most
POLL_AGE_S = 30 * 60.0  # a job is given up; measured calls end within 100 s, the synchronous limit was 600 s
PAID_AGE_S = 24 * 3600.0  # so long what is paid for is fetched and stored again; result URLs live 24 h


@dataclass(frozen=True, slots=True)
class PollPace:
    """Steps behind the moment at which a result is likely: 15 % of the age, 1 to 15 s."""

    step: float = 0.15
    shortest_s: float = 1.0
    longest_s: float = 15.0


def backoff_s(attempt: int, *, random_source: random.Random) -> float:
    """Seconds to wait after the `attempt`-th failure (1, 2, …): full jitter, never under a twentieth of a second."""
    ceiling = min(CAP_S, BASE_S * 2 ** min(attempt - 1, 10))
    return random_source.uniform(0.05, ceiling)


def patience_s(age_s: float, *, random_source: random.Random) -> float:
    """Seconds to wait with what is paid for: it is not given up by count but by age, so the pause grows with it."""
    return random_source.uniform(1.0, min(CAP_S, 2.0 + age_s / 4))


OUTAGE_S = 15 * 60.0  # so long an upstream that is down costs no job an attempt
RETRY_SHARE = 0.1  # retries earned by a first call
RETRY_PACE = 1.0  # a second, without any first call: a lone job is retried too
RETRY_BURST = 32.0  # the most that is saved up


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Calls that the fleet may repeat now. Kept by the leading dispatcher; a new leader starts with a single one."""

    saved: float = 1.0

    @property
    def affordable(self) -> int:
        return int(self.saved)

    def earn(self, *, calls: int, elapsed_s: float) -> "RetryBudget":
        """`calls`: sent for the first time, in `elapsed_s`."""
        return RetryBudget(min(RETRY_BURST, self.saved + RETRY_SHARE * calls + RETRY_PACE * elapsed_s))

    def spend(self, retries: int) -> "RetryBudget":
        return RetryBudget(self.saved - retries)


def next_poll_s(
    age_s: float, *, likely_at_s: float, random_source: random.Random, pace: PollPace = PollPace()
) -> float:
    """Seconds until a job of this age is looked at: when its result is likely, and then with growing steps.

    At most `longest_s`, since what is likely may be outdated and a callback may have been lost. A fifth of jitter keeps
    later polls from bunching.
    """
    if age_s < likely_at_s:
        return min(likely_at_s - age_s, pace.longest_s)
    step = min(max(age_s * pace.step, pace.shortest_s), pace.longest_s)
    return step * random_source.uniform(0.8, 1.2)
