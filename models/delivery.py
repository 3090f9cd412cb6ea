"""The outbox: a webhook event and how far its delivery has come."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Identity, Index, Integer, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, one_of
from models.states import DeliveryState, Hold


class Delivery(Base):
    """Written by a trigger in the transaction of the state change it tells of."""

    __tablename__ = "deliveries"
    __table_args__ = (
        one_of("state", DeliveryState),
        one_of("hold", Hold),
        CheckConstraint("(state = 'pending') = (due_at IS NOT NULL)", name="pending_is_due"),
        # the pump's order; a subject's earlier event goes before its later ones; what people list
        Index("ix_deliveries_due", "endpoint_id", "due_at", "seq", postgresql_where=text("state = 'pending'")),
        Index("ix_deliveries_subject", "endpoint_id", "subject_id", "seq", postgresql_where=text("state = 'pending'")),
        Index("ix_deliveries_digest_id", "digest_id", postgresql_where=text("digest_id IS NOT NULL")),
        Index("ix_deliveries_endpoint_id_seq", "endpoint_id", "seq"),
        Index("ix_deliveries_schedule_run_id", "schedule_run_id", postgresql_where=text("schedule_run_id IS NOT NULL")),
        Index("ix_deliveries_failed", "endpoint_id", "seq", postgresql_where=text("state = 'failed'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    batch_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    schedule_run_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("schedule_runs.id", ondelete="CASCADE"))
    subject_id: Mapped[uuid.UUID | None] = mapped_column(Computed("coalesce(job_id, batch_id)", persisted=True))
    seq: Mapped[int] = mapped_column(Identity())  # order of events
    type: Mapped[str]  # `job.succeeded`, `batch.completed`, …
    endpoint_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("webhook_endpoints.id"))
    url: Mapped[str]
    is_digest: Mapped[bool] = mapped_column(server_default=text("false"))  # may travel with others of its endpoint
    digest_id: Mapped[uuid.UUID | None]  # those that travel together, the same ones on every try
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    state: Mapped[str] = mapped_column(server_default=text("'pending'"))
    due_at: Mapped[datetime | None] = mapped_column(server_default=func.now())  # claiming it leaves it: its place
    hold: Mapped[str] = mapped_column(server_default=text("'idle'"))
    version: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    tries: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    http_status: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None]
    finished_at: Mapped[datetime | None]
