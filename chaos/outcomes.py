"""What jobs have come to, beyond what the oracle judges."""

import time
from collections import Counter
from collections.abc import Callable

from sqlalchemy import text

from chaos.world import World, wait_for

_STATES = """
    SELECT job.state, CASE WHEN job.state <> 'succeeded' THEN job.error_code END, count(*)
    FROM jobs AS job JOIN batches AS batch ON batch.id = job.batch_id
    WHERE batch.name LIKE :prefix AND job.superseded_at IS NULL GROUP BY 1, 2
"""


def states(world: World, prefix: str) -> Counter[str]:
    """Of a row's jobs, those without success with their error codes: `failed http_500`. Retried ones count once."""
    with world.engine.connect() as connection:
        rows = connection.execute(text(_STATES), {"prefix": f"{prefix}%"}).all()
    return Counter({f"{state} {code}" if code else str(state): count for state, code, count in rows})


def seconds_until(holds: Callable[[], object], *, at_most_s: float) -> float:
    """Raise TimeoutError."""
    began = time.monotonic()
    wait_for(holds, every_s=0.1, at_most_s=at_most_s)
    return time.monotonic() - began
