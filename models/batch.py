"""A batch: jobs submitted together, with their common limits and one honest end."""

import uuid
from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, Computed, Double, ForeignKey, Index, Integer, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, new_id, quoted
from models.states import BATCH_OUTCOMES, Priority

_STATUS = (
    "CASE WHEN outcome IS NOT NULL THEN outcome WHEN cancelled_at IS NOT NULL THEN 'cancelling' "
    "WHEN paused_at IS NOT NULL THEN 'paused' WHEN started_at IS NOT NULL THEN 'running' ELSE 'open' END"
)


class Batch(Base):
    """`status` is computed from the moments below, so the two cannot disagree."""

    __tablename__ = "batches"
    __table_args__ = (
        CheckConstraint(f"outcome IN ({quoted(BATCH_OUTCOMES)})", name="outcome"),
        CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name="finished"),
        CheckConstraint("(paused_at IS NULL) = (paused_reason IS NULL)", name="paused"),
        CheckConstraint("budget_usd >= 0", name="budget_usd"),
        Index("ix_batches_unfinished", "account_id", "name", postgresql_where=text("finished_at IS NULL")),
        CheckConstraint("max_failure_rate BETWEEN 0 AND 1", name="max_failure_rate"),
        Index("ix_batches_account_id_id", "account_id", "id"),
        Index("ix_batches_deadline", "deadline", postgresql_where=text("finished_at IS NULL AND deadline IS NOT NULL")),
        Index("ix_batches_run_key", "account_id", "run_key", postgresql_where=text("run_key IS NOT NULL")),
        Index("ix_batches_schedule_id", "schedule_id", postgresql_where=text("schedule_id IS NOT NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str]
    slug: Mapped[str] = mapped_column(unique=True)  # the name made unique and fit for object keys: `{batch}`
    priority: Mapped[int] = mapped_column(SmallInteger, default=Priority.NORMAL, server_default=text("1"))
    weight: Mapped[int] = mapped_column(Integer, default=1, server_default=text("1"))  # share within a priority band
    budget_usd: Mapped[Decimal | None]
    # `22:00-06:00@Europe/Paris` (models/windows.py): nothing is admitted outside it
    admission_window: Mapped[str | None]
    deadline: Mapped[datetime | None]  # what waits then expires
    # of the jobs that ended after the first 20: beyond it the batch pauses
    max_failure_rate: Mapped[float | None] = mapped_column(Double)
    forgiven_ended: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # jobs that had ended,
    forgiven_failed: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # and failed, at the last resume
    run_key: Mapped[str | None]  # of the command line that made it: the same one goes on with it
    schedule_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("schedules.id"))
    webhook_url: Mapped[str | None]
    webhook_events: Mapped[list[str]] = mapped_column(default=list, server_default=text("'[]'"))
    webhook_digest: Mapped[bool] = mapped_column(
        default=False, server_default=text("false")
    )  # job events come together
    # `metadata` is SQLAlchemy's own name on a model
    labels: Mapped[dict[str, str]] = mapped_column("metadata", default=dict, server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    closes_at: Mapped[datetime | None]  # no job joins after it; null while the producer is still adding
    started_at: Mapped[datetime | None]  # first job admitted
    paused_at: Mapped[datetime | None]
    paused_reason: Mapped[str | None]
    cancelled_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    status: Mapped[str] = mapped_column(Computed(_STATUS, persisted=True))
