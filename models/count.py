"""Counts of a batch: exact at every moment, no row that every worker fights for.

A trigger appends what a statement changed to `batch_deltas`; the leading dispatcher folds deltas into `batch_counts`
in one statement. A reader sums both in one snapshot, so it never sees a job twice or not at all.
"""

import uuid
from decimal import Decimal

from sqlalchemy import ForeignKey, Identity
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
