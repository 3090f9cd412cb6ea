"""When a job is tried again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from worker.retry import CAP_S, RETRY_BURST, RetryBudget, backoff_s, next_poll_s


@given(st.integers(1, 100), st.integers())
def test_backoff_is_positive_and_capped(attempt: int, seed: int) -> None:
    assert 0 < backoff_s(attempt, random_source=random.Random(seed)) <= CAP_S


def test_backoff_grows_in_the_mean() -> None:
    source = random.Random(1)
    means = [sum(backoff_s(n, random_source=source) for _ in range(500)) / 500 for n in (1, 3, 6)]
    assert means == sorted(means)


@given(st.floats(0, 10_000), st.integers())
def test_polls_are_one_to_fifteen_seconds_apart(age_s: float, seed: int) -> None:
    assert 0.8 <= next_poll_s(age_s, likely_at_s=0.0, random_source=random.Random(seed)) <= 18


def test_the_first_poll_is_when_a_result_is_likely_and_never_long_from_now() -> None:
    source = random.Random(1)
    assert [next_poll_s(age_s, likely_at_s=40.0, random_source=source) for age_s in (0.0, 15.0, 30.0)] == [15, 15, 10]


@given(st.lists(st.tuples(st.integers(0, 2000), st.floats(0, 10), st.integers(0, 500))))
def test_retries_are_a_tenth_of_the_calls_beside_one_a_second(ticks: list[tuple[int, float, int]]) -> None:
    budget, calls, seconds, retries = RetryBudget(), 0, 0.0, 0
    for count, elapsed_s, wanted in ticks:
        budget = budget.earn(calls=count, elapsed_s=elapsed_s)
        granted = min(wanted, budget.affordable)
        budget = budget.spend(granted)
        calls, seconds, retries = calls + count, seconds + elapsed_s, retries + granted
        assert retries <= 1 + calls / 10 + seconds + 1e-6
        assert 0 <= budget.saved <= RETRY_BURST


def test_a_lone_job_is_retried_though_nothing_else_is_called() -> None:
    budget = RetryBudget().spend(1)
    assert budget.affordable == 0
    assert budget.earn(calls=0, elapsed_s=1.0).affordable == 1
