"""Schedules as people define them: checked when they are added, not in the night when they are due."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from clients.phota_requests import InvalidRequest, Operation
from clients.s3_uri import S3Uri
from clients.storage import AccessDenied, BucketMissing, Storage
from models import DEFAULT_ACCOUNT, Priority, schedule_runs
from models import schedules as rows
from models.dispatch import notify
from models.schedules import ScheduleRoute
from models.ticks import check_cron, next_tick
from models.windows import Window, zone_of
from producer.batches import BatchLimits
from producer.jobs import CheckedJob, check, webhook_url_fault
from producer.ownership import Owner, owner_of
from producer.recipes import Recipe
from producer.sources.selection import Selection
from producer.uploads.loop_guard import Route, destination_of, loop_through

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")  # part of batch names and of object keys
_SAMPLE = "photo.jpg"


class InvalidSchedule(ValueError):  # noqa: N818 - what it is
    """The message says, for people, what is wrong with it."""


class NoSuchSchedule(LookupError):  # noqa: N818
    """The account has none of that name."""


class AlreadyBegun(Exception):  # noqa: N818
    """This very second has its run."""


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A schedule as it is asked for. `recipe` with where results go, None: the usual place.

    `source`: `s3://bucket/prefix`, or a folder that the workers see. `window`: without a zone it means that of the
    schedule. `budget_usd`: of each run.
    """

    name: str
    cron: str
    time_zone: str
    source: str
    recipe: Recipe
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    budget_usd: Decimal | None = None
    window: str | None = None
    priority: Priority = Priority.NORMAL
    max_failure_rate: float | None = None
    webhook_url: str | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """`is_new`: else the one of that name was replaced, and what it has seen stays seen. `next_tick` in UTC."""

    id: uuid.UUID
    is_new: bool
    next_tick: datetime


def add_schedule(
    connection: Connection,
    owner: Owner,
    wanted: NewSchedule,
    *,
    allowed_hosts: Sequence[str] = (),
    now: datetime | None = None,
) -> Added:
    """From now on, in place of the one of that name. Raise InvalidSchedule.

    A run that is going on ends as it began. `now`: None means the database's clock.
    """
    try:
        if wanted.source.startswith("s3://"):
            wanted = replace(wanted, source=str(_parsed(wanted.source)))
        fields = _checked(connection, owner, wanted, allowed_hosts, now or _clock(connection))
    except InvalidRequest as error:
        raise InvalidSchedule("\n".join(problem.message for problem in error.problems)) from None
    return Added(*rows.put_schedule(connection, owner.account.id, wanted.name, fields))


def remove_schedule(connection: Connection, account_id: uuid.UUID, name: str) -> None:
    """No further ticks. What is queued goes on, what is still being listed ends. Raise NoSuchSchedule."""
    schedule_id = _held(connection, account_id, name)
    schedule_runs.finish_listing(connection, schedule_id, ended_by="removed")
    rows.remove_schedule(connection, schedule_id)
    notify(connection)


def run_now(connection: Connection, account_id: uuid.UUID, name: str, *, now: datetime | None = None) -> uuid.UUID:
    """A run beside the clock's, which ends one that is going on; its id. Raise NoSuchSchedule, AlreadyBegun."""
    schedule_id = _held(connection, account_id, name)
    now = now or _clock(connection)
    run_id = schedule_runs.begin_run(connection, schedule_id, tick=now.replace(microsecond=0), now=now)
    if run_id is None:
        raise AlreadyBegun(f"{name} has a run of this second")
    notify(connection)
    return run_id


def check_places(storage: Storage, wanted: NewSchedule) -> None:
    """The source can be listed, and results put where they should go. Raise InvalidSchedule, StorageError."""
    if "://" not in wanted.source and not Path(wanted.source).is_dir():
        raise InvalidSchedule(f"{wanted.source}: no such folder here; workers have to see it under the same path")
    for place in (wanted.source, wanted.recipe.output or ""):
        if not place.startswith("s3://"):
            continue
        uri = _parsed(place)
        try:
            next(storage.list(uri.bucket, uri.key.partition("{")[0]), None)
        except (BucketMissing, AccessDenied) as error:
            raise InvalidSchedule(str(error)) from None


def sample_job(recipe: Recipe, source: str, owner: Owner, *, allowed_hosts: Sequence[str] = ()) -> CheckedJob:
    """One job on behalf of all. Raise InvalidRequest for what the account may not use, or Phota does not take."""
    image = f"{source}{_SAMPLE}" if source.startswith("s3://") else f"s3://{owner.bucket}/inputs/{_SAMPLE}"
    return check(recipe.job_of(image, _SAMPLE), allowed_hosts=allowed_hosts, owner=owner)


def _held(connection: Connection, account_id: uuid.UUID, name: str) -> uuid.UUID:
    schedule_id = rows.hold_schedule(connection, account_id, name)
    if schedule_id is None:
        raise NoSuchSchedule(f"{name}: no such schedule")
    return schedule_id


def _clock(connection: Connection) -> datetime:
    now: datetime = connection.execute(text("SELECT now()")).scalar_one()
    return now


def _checked(
    connection: Connection, owner: Owner, wanted: NewSchedule, allowed_hosts: Sequence[str], now: datetime
) -> dict[str, Any]:
    """The fields of its row. Raise InvalidSchedule, InvalidRequest."""
    if not _NAME.fullmatch(wanted.name):
        raise InvalidSchedule("its name has 1 to 63 letters, digits, and . _ - within")
    if wanted.recipe.operation is Operation.GENERATE:
        raise InvalidSchedule("generate makes pictures from a prompt alone; a schedule works on those of its source")
    _check_source(wanted, owner)
    window, due_at = _check_clock(wanted, now)
    fault = wanted.webhook_url and webhook_url_fault(wanted.webhook_url, allowed_hosts=allowed_hosts)
    if fault:
        raise InvalidSchedule(f"webhook: {fault}")
    try:
        BatchLimits(budget_usd=wanted.budget_usd, max_failure_rate=wanted.max_failure_rate)
        Selection(wanted.include, wanted.exclude)
    except ValueError as error:
        raise InvalidSchedule(str(error)) from None
    output = sample_job(wanted.recipe, wanted.source, owner, allowed_hosts=allowed_hosts).output
    _check_loops(connection, wanted, output, owner)
    return {
        "cron": wanted.cron,
        "time_zone": wanted.time_zone,
        "source": wanted.source,
        "recipe": {**wanted.recipe.as_json(), "include": list(wanted.include), "exclude": list(wanted.exclude)},
        "output": output,
        "budget_usd": wanted.budget_usd,
        "admission_window": None if window is None else str(window),
        "priority": wanted.priority,
        "max_failure_rate": wanted.max_failure_rate,
        "webhook_url": wanted.webhook_url,
        "due_at": due_at,
    }


def _check_source(wanted: NewSchedule, owner: Owner) -> None:
    if wanted.source.startswith("s3://"):
        return
    if "://" in wanted.source or not Path(wanted.source).is_absolute():
        raise InvalidSchedule(f"{wanted.source}: a schedule looks into s3://bucket/prefix or a folder")
    if owner.account.id != DEFAULT_ACCOUNT:
        raise InvalidSchedule("only the operator's account reads folders; others look into s3://bucket/prefix")


def _parsed(place: str) -> S3Uri:
    try:
        return S3Uri.parse(place)
    except ValueError as error:
        raise InvalidSchedule(f"{place}: {error}") from None


def _check_clock(wanted: NewSchedule, now: datetime) -> tuple[Window | None, datetime]:
    """Its window and its first tick."""
    try:
        zone_of(wanted.time_zone)
    except ValueError as error:
        raise InvalidSchedule(f"it {error}") from None
    try:
        check_cron(wanted.cron)
    except ValueError as error:
        raise InvalidSchedule(f"the cron expression {error}") from None
    due_at = next_tick(wanted.cron, wanted.time_zone, now)
    if due_at is None:
        raise InvalidSchedule(f"the cron expression {wanted.cron!r} never comes")
    if wanted.window is None:
        return None, due_at
    try:
        return Window.parse(wanted.window if "@" in wanted.window else f"{wanted.window}@{wanted.time_zone}"), due_at
    except ValueError as error:
        raise InvalidSchedule(f"the window {error}") from None


def _check_loops(connection: Connection, wanted: NewSchedule, output: str | None, owner: Owner) -> None:
    """Its results must not be what it, or one that it feeds, finds the next night. Folders are nobody's destination."""
    if not wanted.source.startswith("s3://"):
        return
    new = _route(connection, ScheduleRoute(owner.account.id, wanted.name, wanted.source, output), owner)
    others = [
        _route(connection, each, owner)
        for each in rows.schedule_routes(connection)
        if each.source.startswith("s3://") and (each.account_id, each.name) != (owner.account.id, wanted.name)
    ]
    way = loop_through(new, others)
    if len(way) == 2:
        raise InvalidSchedule(
            f"its results would be the next run's photos: they go to {new.destination}…, and it looks into "
            f"{new.source}…; give it another --out"
        )
    if way:
        raise InvalidSchedule(f"its results would come back to it: {' → '.join(way)}; give it another --out")


def _route(connection: Connection, schedule: ScheduleRoute, owner: Owner) -> Route:
    is_own = schedule.account_id == owner.account.id
    theirs = owner if is_own else owner_of(connection, schedule.account_id, bucket=owner.bucket)
    output = schedule.output or theirs.default_output(in_batch=True)
    name = schedule.name if is_own else "one of another account"
    return Route(name, S3Uri.parse(schedule.source), destination_of(output, schedule.name))
