"""Where webhook events go: one row a URL and account, whether registered or named by a batch or a job."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, new_id, one_of
from models.states import Hold


class WebhookEndpoint(Base):
    """Also the unit of delivery: one worker at a time holds an endpoint and pumps its deliveries.

    `hold`, `version` and `due_at` mean what they mean on a job. A row comes into being by a trigger as soon as a batch
    or job names its URL.
    """

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        one_of("hold", Hold),
        UniqueConstraint("account_id", "url"),
        CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled"),
        Index("ix_webhook_endpoints_registered", "account_id", postgresql_where=text("is_registered")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id, server_default=func.gen_random_uuid())
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    url: Mapped[str]
    is_registered: Mapped[bool] = mapped_column(server_default=text("false"))
    # event types it was registered for: `batch.completed`, `batch.*`, `*`
    events: Mapped[list[str]] = mapped_column(default=list, server_default=text("'[]'"))
    is_digest: Mapped[bool] = mapped_column(server_default=text("false"))  # job events of batches come together
    secret: Mapped[str | None]  # `whsec_…`; null: the account's
    old_secret: Mapped[str | None]
    old_secret_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # in a row
    failing_since: Mapped[datetime | None]  # first failure since the last success
    disabled_at: Mapped[datetime | None]  # events are kept as failed deliveries, for a replay
    disabled_reason: Mapped[str | None]  # gone, failing

    hold: Mapped[str] = mapped_column(default=Hold.IDLE, server_default=text("'idle'"))
    version: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())  # not before: lease, resend, pace and backoff
