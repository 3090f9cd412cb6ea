"""What ends a schedule's run."""

from datetime import UTC, datetime

import pytest

from models.base import new_id
from models.schedule_runs import RunningRun
from models.windows import parsed
from worker.schedules import ended_by, night_ends_at

TICK = datetime(2026, 11, 23, 21, tzinfo=UTC)  # 22:00 in Paris
CLOSED = datetime(2026, 11, 24, 5, tzinfo=UTC)


def running(**fields: object) -> RunningRun:
    usual = {"window": None, "is_batch_finished": False, "paused_reason": None, "in_flight": 0}
    return RunningRun(id=new_id(), started_at=TICK, **{**usual, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"is_batch_finished": True}, "batch"),
        ({"window": "22:00-06:00@Europe/Paris"}, "window"),
        ({"window": "22:00-06:00@Europe/Paris", "in_flight": 1}, None),
        ({"window": "22:00-06:01@Europe/Paris"}, None),
        ({"paused_reason": "budget"}, "budget"),
        ({"paused_reason": "budget", "in_flight": 1}, None),
        ({"paused_reason": "user"}, None),
    ],
)
def test_a_run_ends_when_nothing_more_comes_of_it(fields: dict[str, object], expected: str | None) -> None:
    assert ended_by(running(**fields), CLOSED) == expected


@pytest.mark.parametrize(
    ("started_at", "window", "expected"),
    [
        ("2026-11-23T21:00Z", "22:00-06:00@Europe/Paris", "2026-11-24T05:00Z"),  # in the window
        ("2026-11-23T12:00Z", "22:00-06:00@Europe/Paris", "2026-11-24T05:00Z"),  # before it
        ("2026-11-24T05:00Z", "22:00-06:00@Europe/Paris", "2026-11-25T05:00Z"),  # when it has just closed
        ("2026-10-24T20:00Z", "22:00-06:00@Europe/Paris", "2026-10-25T05:00Z"),  # an hour longer
        ("2026-10-24T20:00Z", "22:00-02:30@Europe/Paris", "2026-10-25T01:30Z"),  # open again when 02:00 is read again
        ("2026-10-25T00:10Z", "02:15-05:00@Europe/Paris", "2026-10-25T04:00Z"),
        ("2026-03-28T21:00Z", "22:00-02:30@Europe/Paris", "2026-03-29T01:00Z"),  # 02:30 never comes
        ("2026-03-28T23:00Z", "02:30-02:45@Europe/Paris", "2026-03-30T00:45Z"),  # nor the whole window
    ],
)
def test_a_night_ends_when_its_window_closes_for_good(started_at: str, window: str, expected: str) -> None:
    ends_at = night_ends_at(parsed(window), datetime.fromisoformat(started_at))
    assert ends_at == datetime.fromisoformat(expected)
