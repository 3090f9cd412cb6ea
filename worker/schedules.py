"""Schedules, as the leading dispatcher looks at them once a second: ticks that have come, runs that are over.

Everything it decides stands in Postgres, so nothing is lost where one dispatcher takes over from another; and a tick
has one run, however many look (a unique constraint).
"""

import logging
import uuid
from datetime import datetime

from sqlalchemy import Connection, text

from models import schedule_runs, schedules
from models.schedule_runs import RunningRun
from models.schedules import DueSchedule
from models.ticks import latest_tick, next_tick
from models.windows import Window, parsed

log = logging.getLogger(__name__)


def look(connection: Connection, *, limit: int = 500, now: datetime | None = None) -> list[uuid.UUID]:
    """End what is over, begin what is due; the ids of runs whose source is to be listed, marked as sent.

    One transaction, opened by the caller. `limit`: most ids. `now`: None means the database's clock.
    """
    now = now or connection.execute(text("SELECT now()")).scalar_one()
    _end(connection, now)
    for schedule in schedules.lock_due(connection, now):
        _begin(connection, schedule, now)
    schedule_runs.fail_poison_runs(connection, now)
    schedule_runs.close_listed(connection)
    return schedule_runs.take_due_runs(connection, now, limit=limit)


def _begin(connection: Connection, schedule: DueSchedule, now: datetime) -> None:
    """A run for the latest tick that has come: those before it that nobody saw are left out."""
    if not schedule_runs.lock_unfinished(connection, schedule.id):
        return  # a worker is writing its run before: in a second again
    try:
        tick = latest_tick(schedule.cron, schedule.time_zone, since=schedule.due_at, now=now)
        due_at = next_tick(schedule.cron, schedule.time_zone, now)
    except ValueError:  # checked when it was added; but one schedule must not stop all that a dispatcher does
        log.exception("schedule %s comes no more", schedule.id)
        schedules.set_due(connection, schedule.id, None)
        return
    schedule_runs.begin_run(connection, schedule.id, tick=tick, now=now)
    schedules.set_due(connection, schedule.id, due_at)


def _end(connection: Connection, now: datetime) -> None:
    over: dict[str, list[uuid.UUID]] = {}
    for run in schedule_runs.running_runs(connection):
        reason = ended_by(run, now)
        if reason is not None:
            over.setdefault(reason, []).append(run.id)
    for reason, ids in over.items():
        schedule_runs.finish_runs(connection, ids, ended_by=reason, now=now)


def ended_by(run: RunningRun, now: datetime) -> str | None:
    """What has ended it, None while it goes on: its batch has, or its window or budget, with nothing in flight."""
    if run.is_batch_finished:
        return "batch"
    if run.in_flight:
        return None
    if run.window is not None and night_ends_at(parsed(run.window), run.started_at) <= now:
        return "window"
    return "budget" if run.paused_reason == "budget" else None


def night_ends_at(window: Window, started_at: datetime) -> datetime:
    """When the opening that was under way at the start, or came next, closes for good.

    In autumn the hour that is read twice may close a window and open it once more: that is the same night.
    """
    openings = window.spans(started_at)
    night, following = next(openings), next(openings)
    is_same_night = following.opens_at.astimezone(window.zone).fold == 1
    return following.closes_at if is_same_night else night.closes_at
