"""The history: what each try of a stage met."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Identity, Integer
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, one_of
from models.states import Stage


class Attempt(Base):
    """Append-only. A poll that found the job unfinished is waiting, not an attempt."""

    __tablename__ = "attempts"
    __table_args__ = (one_of("stage", Stage),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    stage: Mapped[str]
    started_at: Mapped[datetime]
    duration_ms: Mapped[int] = mapped_column(Integer)
    http_status: Mapped[int | None] = mapped_column(Integer)
    request_id: Mapped[str | None]  # Phota's X-Request-Id
    error_code: Mapped[str | None]  # null: it went well
    error_message: Mapped[str | None]
