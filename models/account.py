"""Who owns batches and jobs, and what each may use."""

import uuid
from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, Integer, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class Account(Base):
    """One tenant. The first migration makes the default one, which is the operator's own: nothing limits it."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("requests_per_minute > 0", name="requests_per_minute"),
        CheckConstraint("queue_limit > 0", name="queue_limit"),
        CheckConstraint("budget_day_usd >= 0 AND budget_month_usd >= 0", name="budgets"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    webhook_secret: Mapped[str]  # `whsec_…`, signs what is sent to URLs that have no endpoint row of their own
    old_webhook_secret: Mapped[str | None]  # signs too until the moment below, while receivers change over
    old_webhook_secret_until: Mapped[datetime | None]
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)  # of the HTTP API; null: no limit
    # the moment up to which requests are used up: it runs ahead of the clock by at most a minute (GCRA)
    requests_used_until: Mapped[datetime | None]
    queue_limit: Mapped[int | None] = mapped_column(Integer)  # jobs that may wait at once; null: no limit
    # `s3://bucket/prefix/` that its jobs may read and write; null: whatever the credentials reach
    s3_prefixes: Mapped[list[str] | None]
    budget_day_usd: Mapped[Decimal | None]  # what may be admitted a day, of all its jobs; null: no limit
    budget_month_usd: Mapped[Decimal | None]
    time_zone: Mapped[str] = mapped_column(server_default=text("'UTC'"))  # in which its days and months begin
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
