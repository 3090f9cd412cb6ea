"""What the fleet knows of the API it calls: how much it bears, and whether its gate is open."""

from datetime import datetime
from typing import Any

from sqlalchemy import Float, Identity, Integer, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class Upstream(Base):
    """One row an API, written by the leading dispatcher only; `worker/limits.py` moves it."""

    __tablename__ = "upstreams"

    name: Mapped[str] = mapped_column(primary_key=True)
    in_flight_limit: Mapped[float] = mapped_column(Float, server_default=text("8"))
    is_slow_start: Mapped[bool] = mapped_column(server_default=text("true"))
    decreased_at: Mapped[datetime | None]
    refused_limit: Mapped[float | None] = mapped_column(Float)  # in force when calls were last refused for load
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # of calls, since one succeeded
    calm: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # calls that succeeded since one was refused
    closed_until: Mapped[datetime | None]  # no call before it; after it one probe, until a call succeeds
    closed_reason: Mapped[str | None]  # null: open
    latency_s: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # operation: running quantile


class UpstreamReport(Base):
    """What one worker process saw in about a second; appended by workers, consumed by the leading dispatcher."""

    __tablename__ = "upstream_reports"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    upstream: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    ok: Mapped[int] = mapped_column(Integer)
    throttled: Mapped[int] = mapped_column(Integer)
    failed: Mapped[int] = mapped_column(Integer)
    retry_after_s: Mapped[float | None] = mapped_column(Float)
    closed_reason: Mapped[str | None]
    looks: Mapped[dict[str, Any]]  # operation: [age in seconds, whether the result was there] of each poll
