"""What all tables share."""

import uuid
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import uuid_utils.compat
from sqlalchemy import BigInteger, CheckConstraint, DateTime, MetaData, Numeric, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

DEFAULT_ACCOUNT = uuid.UUID("00000000-0000-7000-8000-000000000001")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  read by SQLAlchemy as a plain dict
        str: Text,
        int: BigInteger,
        datetime: DateTime(timezone=True),
        uuid.UUID: Uuid,
        Decimal: Numeric(12, 4),
        dict[str, Any]: JSONB,
        dict[str, str]: JSONB,
        list[str]: JSONB,
    }


def new_id() -> uuid.UUID:
    """A UUIDv7: unguessable enough to show, and in order of time, so indexes grow at one end."""
    return uuid_utils.compat.uuid7()


def quoted(values: Iterable[StrEnum]) -> str:
    """The values as a SQL list, for constraints and partial indexes."""
    return ", ".join(f"'{value}'" for value in values)


def one_of(column: str, values: Iterable[StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({quoted(values)})", name=column)
