"""The outbox: a webhook event and how far its delivery has come."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, SmallInteger, func, text
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
        Index("ix_deliveries_due_at", "due_at", postgresql_where=text("state = 'pending'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    batch_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    type: Mapped[str]  # `job.succeeded`, `batch.completed`, …
    url: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    state: Mapped[str] = mapped_column(server_default=text("'pending'"))
    due_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    hold: Mapped[str] = mapped_column(server_default=text("'idle'"))
    version: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    tries: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    http_status: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None]
    finished_at: Mapped[datetime | None]
