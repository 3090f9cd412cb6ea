"""What workers report of the upstream, and what the leading dispatcher makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

UPSTREAM = "phota"


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """The row of `upstreams`, with ages in seconds by the database's clock."""

    in_flight_limit: float = 8.0
    is_slow_start: bool = True
    since_decrease_s: float | None = None
    refused_limit: float | None = None
    closed_for_s: float = 0.0  # not positive: no longer
    closed_reason: str | None = None
    latency_s: dict[str, float] = field(default_factory=dict)
    told_at: float = 0.0  # Unix time, seconds
    failures: int = 0  # of calls, since one succeeded
    calm: int = 0  # calls that succeeded since one was refused for load


@dataclass(frozen=True, slots=True)
class Report:
    """What was seen: calls answered well, refused for load, failed otherwise."""

    ok: int = 0
    throttled: int = 0
    failed: int = 0
    retry_after_s: float | None = None
    closed_reason: str | None = None
    looks: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)


_REPORT = text(
    """
    INSERT INTO upstream_reports (upstream, ok, throttled, failed, retry_after_s, closed_reason, looks)
    VALUES (:upstream, :ok, :throttled, :failed, :retry_after_s, :closed_reason, :looks)
    """
).bindparams(bindparam("looks", type_=JSONB))


async def report(connection: AsyncConnection, seen: Report) -> None:
    await connection.execute(
        _REPORT,
        {
            "upstream": UPSTREAM,
            "ok": seen.ok,
            "throttled": seen.throttled,
            "failed": seen.failed,
            "retry_after_s": seen.retry_after_s,
            "closed_reason": seen.closed_reason,
            "looks": seen.looks,
        },
    )


_READ = text(
    """
    SELECT in_flight_limit, is_slow_start, refused_limit, failures, calm,
           extract(epoch FROM now() - decreased_at)::float8 AS since_decrease_s,
           coalesce(extract(epoch FROM closed_until - now()), 0)::float8 AS closed_for_s, closed_reason, latency_s,
           extract(epoch FROM clock_timestamp())::float8 AS told_at
    FROM upstreams WHERE name = :name
    """
)


def read_upstream(connection: Connection) -> UpstreamState:
    return UpstreamState(**connection.execute(_READ, {"name": UPSTREAM}).mappings().one())


async def read_upstream_async(connection: AsyncConnection) -> UpstreamState:
    return UpstreamState(**(await connection.execute(_READ, {"name": UPSTREAM})).mappings().one())


_CONSUME = text(
    "DELETE FROM upstream_reports WHERE upstream = :name "
    "RETURNING ok, throttled, failed, retry_after_s, closed_reason, looks"
)


def consume_reports(connection: Connection) -> Sequence[Report]:
    return [Report(**row) for row in connection.execute(_CONSUME, {"name": UPSTREAM}).mappings()]


_WRITE = text(
    """
    UPDATE upstreams SET in_flight_limit = :in_flight_limit, is_slow_start = :is_slow_start,
           decreased_at = now() - make_interval(secs => :since_decrease_s), refused_limit = :refused_limit,
           closed_until = CASE WHEN :closed_for_s > 0 THEN now() + make_interval(secs => :closed_for_s) END,
           closed_reason = :closed_reason, latency_s = :latency_s,
           failures = :failures, calm = least(:calm, 1000000)
    WHERE name = :name
    """
).bindparams(bindparam("latency_s", type_=JSONB))


def write_upstream(connection: Connection, state: UpstreamState) -> None:
    connection.execute(
        _WRITE,
        {
            "name": UPSTREAM,
            "in_flight_limit": state.in_flight_limit,
            "is_slow_start": state.is_slow_start,
            "since_decrease_s": state.since_decrease_s,
            "refused_limit": state.refused_limit,
            "closed_for_s": state.closed_for_s,
            "closed_reason": state.closed_reason,
            "latency_s": state.latency_s,
            "failures": state.failures,
            "calm": state.calm,
        },
    )
