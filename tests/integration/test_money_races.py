"""Whatever comes at once: no content is called twice, no budget exceeded, no count wrong, and all of it ends."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine, text

from tests.integration.money_races import Commotion, count_unfinished, violations

_LIVELY_S = 4.0  # and on a busy machine until enough has happened, but
_LONGEST_S = 30.0
_CALM_S = 15.0  # at most; a second or so as a rule
_SEED = 4


def test_nothing_is_paid_twice_and_everything_ends(engine: Engine, database_url: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET budget_day_usd = 9"))
    commotion = Commotion(engine, database_url, _SEED)
    with ThreadPoolExecutor(8) as pool:
        commotion.start(pool)
        try:
            _watch(commotion)
            commotion.stopping.set()
            _watch_the_end(commotion)
        finally:
            commotion.stopping.set()
            commotion.done.set()
    assert violations(engine) == {}
    assert count_unfinished(engine) == (0, 0)
    assert _was_lively(engine)


def _watch(commotion: Commotion) -> None:
    began = time.monotonic()
    while (age_s := time.monotonic() - began) < _LIVELY_S or (age_s < _LONGEST_S and not _was_lively(commotion.engine)):
        assert violations(commotion.engine) == {}
        commotion.check_alive()


def _watch_the_end(commotion: Commotion) -> None:
    for each in commotion.running[:3]:
        each.result()
    commotion.calm()
    until = time.monotonic() + _CALM_S
    while any(count_unfinished(commotion.engine)) and time.monotonic() < until:
        time.sleep(0.05)


def _was_lively(engine: Engine) -> bool:
    """It would hold of little else."""
    with engine.connect() as connection:
        states = Counter(connection.execute(text("SELECT state FROM jobs")).scalars())
        retried = connection.scalar(text("SELECT count(*) FROM jobs WHERE retry_of IS NOT NULL"))
    return min(states["succeeded"], states["skipped"], states["failed"], int(retried or 0)) >= 10
