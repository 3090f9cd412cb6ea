"""Who owns batches and jobs."""

import uuid
from datetime import datetime

from sqlalchemy import func
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class Account(Base):
    """One tenant; the first migration makes the default one."""

    __tablename__ = "accounts"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    webhook_secret: Mapped[str]  # `whsec_…`, signs what is sent to URLs that have no endpoint row of their own
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
