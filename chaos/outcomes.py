"""What rows expect of their jobs beyond what the oracle judges of all."""

import time
from collections import Counter
from collections.abc import Callable

from sqlalchemy import text

from chaos.campaign import Run
from chaos.world import wait_for

_STATES = """
    SELECT job.state, CASE WHEN job.state <> 'succeeded' THEN job.error_code END, count(*)
    FROM jobs AS job JOIN batches AS batch ON batch.id = job.batch_id WHERE batch.name LIKE :prefix GROUP BY 1, 2
"""


def states(run: Run) -> Counter[str]:
    """Of the row's jobs, those without success with their error codes: `failed http_500`."""
    with run.world.engine.connect() as connection:
        rows = connection.execute(text(_STATES), {"prefix": f"{run.load.prefix}%"}).all()
    return Counter({f"{state} {code}" if code else str(state): count for state, code, count in rows})


def expect_all(run: Run) -> None:
    """Raise AssertionError unless every job of the row has succeeded: the fault was not theirs."""
    run.load.drain(within_s=run.drain_s)
    found = states(run)
    if found != {"succeeded": run.load.accepted}:
        raise AssertionError(f"not all succeeded: {dict(found)}")


def seconds_until(holds: Callable[[], object], *, at_most_s: float) -> float:
    """Raise TimeoutError."""
    began = time.monotonic()
    wait_for(holds, every_s=0.1, at_most_s=at_most_s)
    return time.monotonic() - began
