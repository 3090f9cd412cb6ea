"""How long a batch may go on beginning calls: its window and its deadline. A pure function."""

from datetime import datetime

from models.lanes import Lane
from models.windows import parsed


def room_s(lane: Lane, now: datetime) -> float | None:
    """Seconds by whose end a call that begins now has to be done; None: whenever, not positive: none may begin.

    Nothing begins outside its window, nor so late that it would likely run past the window's end or the deadline.
    """
    ends = [] if lane.deadline is None else [lane.deadline]
    if lane.window is not None:
        span = parsed(lane.window).span(now)
        ends.append(span.closes_at if span.is_open(now) else now)
    return min(((end - now).total_seconds() for end in ends), default=None)
