"""Lists, a page at a time: `limit`, and `after`, the last id of the page before."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query

Limit = Annotated[int, Query(ge=1, le=100, description="Most rows in a page.")]
After = Annotated[uuid.UUID | None, Query(description="`next_after` of the page before.")]


def page(rows: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """`rows`: one more than `limit` were asked for, which tells whether there are more."""
    data = list(rows[:limit])
    has_more = len(rows) > limit
    return {"data": data, "has_more": has_more, "next_after": data[-1]["id"] if has_more else None}
