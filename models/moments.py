"""Moments as every JSON object spells them."""

from datetime import UTC, datetime
from typing import overload


@overload
def written(moment: datetime) -> str: ...
@overload
def written(moment: datetime | None) -> str | None: ...
def written(moment: datetime | None) -> str | None:
    """`2026-05-01T12:00:00.123456Z`, in UTC whatever the database's session thinks in; None stays None."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
