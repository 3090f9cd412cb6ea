"""Work that comes by the clock: a schedule, and each of its runs."""

import uuid
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Double, ForeignKey, Index, Integer, SmallInteger, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, new_id, one_of
from models.states import Hold, Priority


class RunState(StrEnum):
    """Where a schedule's run is."""

    LISTING = "listing"  # a worker looks at the source and queues what is new
    RUNNING = "running"  # its batch is worked on; the dispatcher ends it
    FINISHED = "finished"  # its batch has ended, its window has closed, its money is spent, or the next tick has come
    FAILED = "failed"  # the source could not be read; `error` says why


class Schedule(Base):
    """`due_at` is its next tick; null once it was removed, or where the cron expression never comes again."""

    __tablename__ = "schedules"
    __table_args__ = (
        CheckConstraint("budget_usd >= 0", name="budget_usd"),
        CheckConstraint("max_failure_rate BETWEEN 0 AND 1", name="max_failure_rate"),
        CheckConstraint("removed_at IS NULL OR due_at IS NULL", name="removed_is_never_due"),
        Index(
            "uq_schedules_account_id_name",
            "account_id",
            "name",
            unique=True,
            postgresql_where=text("removed_at IS NULL"),
        ),
        Index("ix_schedules_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str]
    cron: Mapped[str]
    time_zone: Mapped[str]
    source: Mapped[str]  # `s3://bucket/prefix`, or a folder that workers see
    # operation, params, include, exclude
    recipe: Mapped[dict[str, Any]]
    output: Mapped[str | None]  # `s3://bucket/prefix/template`; null: the usual place
    budget_usd: Mapped[Decimal | None]  # a run
    admission_window: Mapped[str | None]
    priority: Mapped[int] = mapped_column(SmallInteger, default=Priority.NORMAL, server_default=text("1"))
    max_failure_rate: Mapped[float | None] = mapped_column(Double)
    webhook_url: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]


class ScheduleRun(Base):
    """One tick. `hold`, `version` and `due_at` mean what they mean on a job, while the source is listed."""

    __tablename__ = "schedule_runs"
    __table_args__ = (
        one_of("state", RunState),
        one_of("hold", Hold),
        UniqueConstraint("schedule_id", "tick"),  # however many dispatchers look at the clock
        CheckConstraint("(state = 'listing') = (due_at IS NOT NULL)", name="listing_is_due"),
        CheckConstraint("(state IN ('finished', 'failed')) = (finished_at IS NOT NULL)", name="finished"),
        Index("ix_schedule_runs_due_at", "due_at", postgresql_where=text("state = 'listing'")),
        Index("ix_schedule_runs_unfinished", "schedule_id", postgresql_where=text("finished_at IS NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    schedule_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("schedules.id"))
    tick: Mapped[datetime]  # the moment of the clock it stands for, in UTC
    state: Mapped[str] = mapped_column(default=RunState.LISTING, server_default=text("'listing'"))
    due_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    hold: Mapped[str] = mapped_column(default=Hold.IDLE, server_default=text("'idle'"))
    version: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    claims: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    # its own, or that of the run before with what was carried over
    batch_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("batches.id"))
    # of the batch when the run began: `done`, `failed`, `spent_usd`; its summary is the difference
    before: Mapped[dict[str, Any] | None]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen: Mapped[int | None]  # pictures in the source
    found: Mapped[int | None]  # of them new or changed
    done: Mapped[int | None]  # succeeded or skipped, in this run
    failed: Mapped[int | None]  # failed, rejected or expired
    carried_over: Mapped[int | None]  # still waiting when it ended
    spent_usd: Mapped[Decimal | None]
    ended_by: Mapped[str | None]  # batch, window, budget, next_tick, removed, nothing_new, error
    error: Mapped[str | None]
    finished_at: Mapped[datetime | None]
