"""Numbers of the whole installation, for whoever watches it; reading them costs no more when more jobs are done."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection, text

from models.base import quoted
from models.endpoints import DeliveryCounts, delivery_counts
from models.health import UPSTREAM
from models.states import WORKING_STATES

LONE_WINDOW = timedelta(hours=1)  # finished jobs without a batch are counted nowhere: a look back of this length
_AT_MOST_S = 5  # no statement of a scrape may last longer


@dataclass(frozen=True, slots=True)
class Gauges:
    """`jobs`: of every batch there is, by state. `lone_jobs`: unfinished, and finished ones of those submitted within
    `LONE_WINDOW`. `oldest_due_s`: how long the job that waits longest for a worker has been due. Money in USD."""

    jobs: Mapping[str, int]
    lone_jobs: Mapping[str, int]
    batches: Mapping[str, int]
    spent_usd: Decimal
    oldest_due_s: float
    in_flight_limit: float
    closed_reason: str | None
    webhooks: DeliveryCounts


def probe(connection: Connection) -> None:
    """Raise ProgrammingError where there is no schema."""
    connection.execute(text("SELECT FROM upstreams LIMIT 1"))


def read_gauges(connection: Connection) -> Gauges:
    """One snapshot. Raise OperationalError if the database takes too long."""
    connection.execute(
        text(f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET LOCAL statement_timeout = '{_AT_MOST_S}s'")
    )
    counted = connection.execute(_JOBS).all()
    now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    lone = connection.execute(_LONE, {"since": _first_id(now - LONE_WINDOW)}).all()
    upstream = connection.execute(_UPSTREAM, {"name": UPSTREAM}).one()
    return Gauges(
        jobs={row.state: int(row.jobs) for row in counted},
        lone_jobs={row.state: int(row.jobs) for row in lone},
        batches={row.status: row.n for row in connection.execute(_BATCHES)},
        spent_usd=sum((row.cost_usd for row in counted), Decimal(0)),
        oldest_due_s=connection.execute(_OLDEST_DUE).scalar_one(),
        in_flight_limit=upstream.in_flight_limit,
        closed_reason=upstream.closed_reason,
        webhooks=delivery_counts(connection),
    )


def _first_id(moment: datetime) -> uuid.UUID:
    """The smallest UUIDv7 of that moment."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)


# A row a batch and state: its cost is the number of batches.
_JOBS = text(
    """
    SELECT state, sum(jobs) AS jobs, sum(cost_usd) AS cost_usd
    FROM (SELECT state, jobs, cost_usd FROM batch_counts
          UNION ALL SELECT state, jobs, cost_usd FROM batch_deltas) AS counted
    GROUP BY state
    """
)
# Each part through a partial index of the jobs that wait or are worked on, or through the newest end of an index.
_LONE = text(
    f"""
    SELECT 'queued' AS state, count(*) AS jobs FROM jobs
    WHERE state = 'queued' AND priority IN (0, 1, 2) AND lane_id = ANY (ARRAY(SELECT id FROM accounts))
    UNION ALL
    SELECT state, count(*) FROM jobs WHERE state IN ({quoted(WORKING_STATES)}) AND batch_id IS NULL GROUP BY state
    UNION ALL
    SELECT state, count(*) FROM jobs WHERE batch_id IS NULL AND id >= :since AND finished_at IS NOT NULL GROUP BY state
    """
)
_BATCHES = text("SELECT status, count(*) AS n FROM batches GROUP BY status")
_OLDEST_DUE = text(
    f"""
    SELECT coalesce(greatest(extract(epoch FROM now() - min(due_at)), 0), 0)::float8
    FROM jobs WHERE state IN ({quoted(WORKING_STATES)})
    """
)
_UPSTREAM = text(
    """
    SELECT in_flight_limit, CASE WHEN closed_until > now() THEN coalesce(closed_reason, '') END AS closed_reason
    FROM upstreams WHERE name = :name
    """
)
