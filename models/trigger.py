"""Work that comes by uploads: what is watched, and which objects have been seen."""

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Double, ForeignKey, Index, Integer, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, new_id, one_of
from models.states import Hold, Priority


class Trigger(Base):
    """`hold`, `version` and `due_at` are those of its repair: the next listing that finds what events missed."""

    __tablename__ = "triggers"
    __table_args__ = (
        one_of("hold", Hold),
        CheckConstraint("quiet_s > 0 AND most > 0 AND repair_s > 0", name="positive"),
        CheckConstraint("(removed_at IS NULL) = (due_at IS NOT NULL)", name="removed_is_never_due"),
        Index(
            "uq_triggers_account_id_name",
            "account_id",
            "name",
            unique=True,
            postgresql_where=text("removed_at IS NULL"),
        ),
        Index("ix_triggers_bucket", "bucket", postgresql_where=text("removed_at IS NULL")),
        Index("ix_triggers_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str]
    bucket: Mapped[str]
    prefix: Mapped[str] = mapped_column(server_default=text("''"))
    suffix: Mapped[str] = mapped_column(server_default=text("''"))  # empty: whatever Phota takes
    recipe: Mapped[dict[str, Any]]  # operation, params
    output: Mapped[str | None]  # `s3://bucket/prefix/template`; null: the usual place
    priority: Mapped[int] = mapped_column(SmallInteger, default=Priority.INTERACTIVE, server_default=text("0"))
    quiet_s: Mapped[float] = mapped_column(Double, server_default=text("60"))  # a burst ends after so long without one
    most: Mapped[int] = mapped_column(Integer, server_default=text("1000"))  # or with so many objects
    budget_usd: Mapped[Decimal | None]  # a burst
    webhook_url: Mapped[str | None]
    # objects last changed before it are none of its business
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    repair_s: Mapped[float] = mapped_column(Double, server_default=text("300"))
    repaired_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    hold: Mapped[str] = mapped_column(default=Hold.IDLE, server_default=text("'idle'"))
    version: Mapped[int] = mapped_column(Integer, server_default=text("0"))


class SeenObject(Base):
    """An object that a trigger, a schedule or a watched folder has made a job of: never again, unless it changes."""

    __tablename__ = "seen_objects"

    source_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)  # the trigger, the schedule, or a folder's own
    key: Mapped[str] = mapped_column(primary_key=True)
    tag: Mapped[str] = mapped_column(primary_key=True)  # ETag; of files their size and time of change
    sequencer: Mapped[str | None]  # of the event, where it had one: orders those of a key
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
