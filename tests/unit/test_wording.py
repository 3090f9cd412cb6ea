"""What people are told of a batch's limits, and what its end means to scripts."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cli import wording
from cli.exits import Exit
from cli.progress import describe, exit_code
from models.outlook import Forecast, Waiting, WaitingFor
from models.progress import BatchView
from models.states import BatchStatus, JobState

NOW = datetime.now(UTC)
NIGHT = "22:00-06:00@Europe/Paris"
TONIGHT = datetime(2026, 5, 2, 22, tzinfo=ZoneInfo("Europe/Paris"))
FOR_WINDOW = Waiting(WaitingFor.WINDOW, TONIGHT)
FOR_DAY = Waiting(WaitingFor.ACCOUNT_BUDGET_DAY, TONIGHT)


def batch(
    status: BatchStatus = BatchStatus.RUNNING, *, counts: dict[str, int] | None = None, **fields: Any
) -> BatchView:
    told = {state.value: 0 for state in JobState} | (counts or {"queued": 4, "succeeded": 6})
    known: dict[str, Any] = {
        "id": uuid.UUID(int=1),
        "name": "trip",
        "slug": "trip-1",
        "status": status,
        "paused_reason": None,
        "counts": told | {"total": sum(told.values())},
        "estimated_usd": Decimal("1.20"),
        "reserved_usd": Decimal(0),
        "spent_usd": Decimal("0.72"),
        "budget_usd": None,
        "window": None,
        "deadline": None,
        "max_failure_rate": None,
        "forecast": None,
        "waiting": None,
        "errors": [],
        "metadata": {},
        "created_at": NOW,
        "started_at": NOW,
        "finished_at": None,
    }
    return BatchView(**known | fields)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (TONIGHT - timedelta(hours=19), "22:00"),
        (TONIGHT + timedelta(hours=1), "22:00"),
        (TONIGHT - timedelta(hours=21), "2026-05-02 22:00"),
    ],
)
def test_a_moment_names_its_day_where_it_is_not_clear(now: datetime, told: str) -> None:
    assert wording.clock(TONIGHT, now) == told


@pytest.mark.parametrize(
    ("waiting", "words"),
    [
        (FOR_WINDOW, "waits for its window, opens 2026-05-02 22:00 Europe/Paris"),
        (Waiting(WaitingFor.WINDOW, None), "waits for its window, which is never open for as long as a call takes"),
        (FOR_DAY, "waits: the account's budget of the day is used up, goes on 2026-05-02 22:00 Europe/Paris"),
        (Waiting(WaitingFor.ACCOUNT_BUDGET_MONTH, None), "waits: the account's budget of the month is used up"),
    ],
)
def test_what_is_waited_for_is_told_with_its_end(waiting: Waiting, words: str) -> None:
    assert wording.waits(waiting) == words
    assert words in describe(batch(waiting=waiting))


@pytest.mark.parametrize(
    ("forecast", "words"),
    [
        (Forecast(TONIGHT, 1.0, None), "will finish about 2026-05-02 22:00"),
        (Forecast(TONIGHT, 1.0, True), "will finish about 2026-05-02 22:00, before its deadline"),
        (Forecast(TONIGHT, 1.0, False), "will NOT finish before its deadline (about 2026-05-02 22:00)"),
        (Forecast(None, 1.0, False), "will NOT finish before its deadline"),
        (Forecast(None, None, None), None),
        (None, None),
    ],
)
def test_the_end_is_foretold_by_the_clock_of_the_window(forecast: Forecast | None, words: str | None) -> None:
    assert wording.foreseen(batch(window=NIGHT, forecast=forecast)) == words


def test_nothing_is_foretold_of_what_has_ended() -> None:
    assert wording.foreseen(batch(counts={"succeeded": 3}, forecast=Forecast(TONIGHT, 1.0, None))) is None


def test_a_deadline_that_is_not_met_shows_while_it_runs() -> None:
    assert "will NOT finish" in describe(batch(forecast=Forecast(TONIGHT, 1.0, False)))
    assert "will" not in describe(batch(forecast=Forecast(TONIGHT, 1.0, True)))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"paused_reason": "budget", "budget_usd": Decimal(5)}, "paused: its budget of $5.00 is reached"),
        ({"paused_reason": "user"}, "paused by a person"),
        ({"paused_reason": "else"}, "paused: else"),
        (
            {
                "paused_reason": "failure_rate",
                "max_failure_rate": 0.2,
                "counts": {"failed": 9, "rejected": 3, "succeeded": 18, "queued": 70},
            },
            "paused: 12 of 30 jobs failed, more than 20%",
        ),
        (
            {
                "paused_reason": "failure_rate",
                "max_failure_rate": 0.2,
                "counts": {"failed": 0, "rejected": 0, "succeeded": 18, "queued": 82},
            },
            "paused: more than 20% of its jobs had failed",
        ),
    ],
)
def test_a_pause_is_told_in_figures(fields: dict[str, Any], words: str) -> None:
    assert wording.paused(batch(**fields)) == words


def test_what_was_skipped_was_done_before() -> None:
    assert wording.counted(batch(counts={"succeeded": 2, "skipped": 7})) == "2 succeeded, 7 skipped (done before)"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"paused_reason": "budget"}, Exit.BUDGET),
        ({"waiting": FOR_DAY}, Exit.BUDGET),
        ({"waiting": Waiting(WaitingFor.ACCOUNT_BUDGET_MONTH, TONIGHT)}, Exit.BUDGET),
        ({"waiting": FOR_WINDOW}, Exit.DEADLINE),
        ({"paused_reason": "failure_rate"}, Exit.SOME_FAILED),
        ({"paused_reason": "user"}, Exit.SOME_FAILED),
        ({"counts": {"succeeded": 3, "skipped": 2}}, Exit.SUCCEEDED),
        ({"counts": {"skipped": 2}}, Exit.SUCCEEDED),
        ({"counts": {"succeeded": 3, "failed": 2}, "errors": [{"code": "timeout"}]}, Exit.SOME_FAILED),
        (
            {"counts": {"failed": 3, "expired": 2}, "errors": [{"code": "timeout"}, {"code": "deadline"}]},
            Exit.DEADLINE,
        ),
        ({"counts": {"expired": 2}, "errors": [{"code": "expired"}]}, Exit.SOME_FAILED),
    ],
)
def test_the_end_of_following_it_is_an_exit_code(fields: dict[str, Any], code: Exit) -> None:
    assert exit_code(batch(**fields)) is code
