"""A job: one call to Phota and what became of it. `docs/architecture.md` tells how the five driving columns work."""

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, new_id, one_of, quoted
from models.states import FINAL_STATES, WORKING_STATES, Hold, JobState, Priority

_IS_FINAL = f"(state IN ({quoted(FINAL_STATES)}))"
_IS_USED = f"state IN ({quoted((*WORKING_STATES, JobState.SUCCEEDED))})"
# Both of a row, to look up by `content_key`. So written, only the index made for it fits: a plan that was made while
# few jobs were under way, or had failed, would walk through all of those.
IS_BUSY = f"{_IS_USED} AND state <> 'succeeded'"
"""It is being done."""
IS_UNCLEAR = "state = 'failed' AND cost_usd IS NOT NULL AND num_nulls(superseded_at) = 1"
"""It failed, a charge cannot be ruled out, and nobody has decided yet what is to become of it."""


class Job(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        one_of("state", JobState),
        one_of("hold", Hold),
        CheckConstraint(f"{_IS_FINAL} = (due_at IS NULL)", name="final_is_never_due"),
        CheckConstraint(f"{_IS_FINAL} = (finished_at IS NOT NULL)", name="final_is_finished"),
        CheckConstraint("state <> 'queued' OR requested_at IS NULL", name="queued_is_uncharged"),
        CheckConstraint("state <> 'succeeded' OR cost_usd IS NOT NULL", name="succeeded_is_charged"),
        Index(
            "uq_jobs_batch_id_custom_id",
            "batch_id",
            "custom_id",
            unique=True,
            postgresql_where=text("superseded_at IS NULL"),
        ),
        UniqueConstraint("account_id", "idempotency_key"),
        Index("ix_jobs_admission", "priority", "lane_id", "due_at", "id", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_due", "due_at", postgresql_where=text(f"state IN ({quoted(WORKING_STATES)})")),
        Index(
            "ix_jobs_expires_at",
            "expires_at",
            postgresql_where=text("finished_at IS NULL AND expires_at IS NOT NULL"),
        ),
        Index(
            "ix_jobs_errors",
            "batch_id",
            "error_code",
            postgresql_where=text("state IN ('failed', 'rejected', 'expired') AND superseded_at IS NULL"),
        ),
        Index("ix_jobs_batch_id_id", "batch_id", "id"),
        Index("ix_jobs_remote_job_id", "remote_job_id", postgresql_where=text("state = 'running'")),
        Index("ix_jobs_retry_of", "retry_of", postgresql_where=text("retry_of IS NOT NULL")),
        Index(
            "ix_jobs_content",
            "content_key",
            "state",
            postgresql_where=text(f"{_IS_USED} AND content_key IS NOT NULL"),
        ),
        Index("ix_jobs_unclear", "content_key", postgresql_where=text(f"{IS_UNCLEAR} AND content_key IS NOT NULL")),
        Index("ix_jobs_suspect", "due_at", postgresql_where=text("claims >= 2")),  # models.dispatch.QUARANTINE
        Index("ix_jobs_same_as", "same_as", postgresql_where=text("same_as IS NOT NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    batch_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("batches.id"))
    # whom admission is fair to: the batch, or the account for jobs of their own
    lane_id: Mapped[uuid.UUID] = mapped_column(Computed("coalesce(batch_id, account_id)", persisted=True))
    custom_id: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    operation: Mapped[str]
    params: Mapped[dict[str, Any]]
    output: Mapped[str]  # `s3://bucket/prefix/template`
    source: Mapped[dict[str, Any] | None]  # where uploaded bytes came from: path, bytes, sha256
    # what is done, to which bytes, in one SHA-256 (producer/content.py); null: never taken for done before
    content_key: Mapped[str | None]
    is_redo: Mapped[bool] = mapped_column(server_default=text("false"))  # done anew, whatever other batches did
    # by a retry whose user said so: called even where the same may have been charged before
    is_paid_again: Mapped[bool] = mapped_column(server_default=text("false"))
    same_as: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id"))  # whose outputs a skipped job has
    priority: Mapped[int] = mapped_column(SmallInteger, default=Priority.NORMAL)
    webhook_url: Mapped[str | None]
    labels: Mapped[dict[str, str]] = mapped_column("metadata", default=dict, server_default=text("'{}'"))

    state: Mapped[str] = mapped_column(default=JobState.QUEUED, server_default=text("'queued'"))
    due_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    hold: Mapped[str] = mapped_column(default=Hold.IDLE, server_default=text("'idle'"))
    version: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    claims: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))  # since a stage last wrote

    generation: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))  # raised by each retry
    retry_of: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id"))  # the generation before
    superseded_at: Mapped[datetime | None]  # a later generation counts for the batch now; only what it cost still does

    admitted_at: Mapped[datetime | None]  # the day whose money it spends; kept by generations that go on with a charge
    client_request_id: Mapped[str]  # Phota returns the same job for it and charges once
    requested_at: Mapped[datetime | None]  # first call that may have been charged; null while certain that none was
    accepted_at: Mapped[datetime | None]  # Phota answered with `remote_job_id`
    # Phota called back while a worker was asking, so perhaps a moment too early
    is_woken: Mapped[bool] = mapped_column(server_default=text("false"))
    remote_job_id: Mapped[str | None]
    poll_url: Mapped[str | None]
    result_urls: Mapped[list[str] | None]
    known_subjects: Mapped[dict[str, Any] | None]

    estimate_usd: Mapped[Decimal]  # the most it can cost; reserved while in flight
    cost_usd: Mapped[Decimal | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
