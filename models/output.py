"""A finished picture in the bucket."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Integer, SmallInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class Output(Base):
    """Written in the transaction that makes its job `succeeded`, after the object was uploaded and verified."""

    __tablename__ = "outputs"
    __table_args__ = (
        CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256"),
        CheckConstraint("bytes > 0 AND width > 0 AND height > 0", name="size"),
    )

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    index: Mapped[int] = mapped_column(SmallInteger, primary_key=True)  # 0 to num_output_images - 1
    bucket: Mapped[str]
    key: Mapped[str]
    content_type: Mapped[str]
    bytes: Mapped[int]
    sha256: Mapped[str]
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
