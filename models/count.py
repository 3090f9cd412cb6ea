"""Counts of a batch and money of an account: exact at every moment, no row that every worker fights for.

A trigger appends what a statement changed to `batch_deltas` and `account_deltas`; the leading dispatcher folds deltas
into `batch_counts` and `account_days` in one statement each. A reader sums both in one snapshot, so it never sees a job
twice or not at all.
"""

import uuid
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import ForeignKey, Identity, Integer
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class BatchCount(Base):
    __tablename__ = "batch_counts"

    batch_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True)
    state: Mapped[str] = mapped_column(primary_key=True)
    jobs: Mapped[int]
    estimate_usd: Mapped[Decimal]
    cost_usd: Mapped[Decimal]


class BatchDelta(Base):
    __tablename__ = "batch_deltas"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    batch_id: Mapped[uuid.UUID] = mapped_column(index=True)  # no foreign key: its check would lock the batch's row
    state: Mapped[str]
    jobs: Mapped[int]
    estimate_usd: Mapped[Decimal]
    cost_usd: Mapped[Decimal]


class BatchMinute(Base):
    """Jobs of a batch that succeeded or failed in a minute: its measured pace. Gone when the batch ends."""

    __tablename__ = "batch_minutes"

    batch_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True)
    minute: Mapped[datetime] = mapped_column(primary_key=True)
    jobs: Mapped[int] = mapped_column(Integer)


class AccountDay(Base):
    """Money of the jobs admitted on a day of the account's time zone: estimates while in flight, then real costs."""

    __tablename__ = "account_days"

    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    usd: Mapped[Decimal]


class AccountDelta(Base):
    __tablename__ = "account_deltas"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    account_id: Mapped[uuid.UUID]  # no foreign key, as for batches
    day: Mapped[date]
    usd: Mapped[Decimal]
