"""`photabatch schedule`: work that comes by the clock."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Engine

from cli.exits import CommandError, Exit, UsageFault
from cli.fleet import is_complete, load_settings, open_database, services
from cli.request_options import Money, param_options, recipe_of
from cli.terminal import emit, say
from clients.storage import Storage
from models import Priority
from models.accounts import find_account
from models.moments import written
from models.run_views import RunView
from models.schedule import RunState
from models.schedules import ScheduleView, list_schedules
from models.windows import zone_of
from producer.ownership import owner_of
from producer.schedules import definitions
from producer.schedules.definitions import AlreadyBegun, InvalidSchedule, NewSchedule, NoSuchSchedule
from sandbox.stack import read_running
from settings import Settings


@click.group()
def schedule() -> None:
    """Schedules: what is new in a bucket or a folder, every night or whenever cron says."""


_ACCOUNT = click.option("--account", "account_name", metavar="NAME", default="default", show_default=True)


@contextmanager
def _account(name: str) -> Iterator[tuple[Settings, Engine, uuid.UUID]]:
    """The services, and the account of that name."""
    with services(with_workers=False) as settings:
        engine = open_database(settings)
        with engine.connect() as connection:
            account = find_account(connection, name)
        if account is None:
            raise UsageFault(f"{name}: no such account")
        yield settings, engine, account.id


@schedule.command()
@click.argument("name")
@click.argument("source", metavar="SRC")
@click.option("--cron", required=True, metavar="EXPRESSION", help="As in Debian's cron: '0 22 * * *'.")
@click.option("--tz", "time_zone", metavar="ZONE", default="UTC", show_default=True, help="Such as Europe/Paris.")
@param_options
@click.option("--include", multiple=True, metavar="PATTERN", help="Only these, as in rclone: '*.jpg', '/raw/**'.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Not these.")
@click.option("--out", metavar="DEST", help="s3://bucket/prefix for the results; without it the usual place.")
@click.option("--budget", type=Money(), metavar="USD", help="Never spend more than this a run.")
@click.option("--window", metavar="HH:MM-HH:MM", help="Begin nothing outside it; in ZONE unless it ends in @ANOTHER.")
@click.option("--priority", type=click.Choice(["interactive", "normal", "bulk"]), default="normal")
@click.option("--max-failure-rate", type=click.FloatRange(0, 1), metavar="RATE", help="Pause when more failed: 0.2.")
@click.option("--webhook", "webhook_url", metavar="URL", help="Is told how each run ended, and of its batch.")
@_ACCOUNT
@click.option("--json", "as_json", is_flag=True)
def add(account_name: str, as_json: bool, **options: Any) -> None:
    """Enhance or edit what is new in SRC whenever EXPRESSION comes, from now on; in place of the schedule NAME.

    SRC is s3://bucket/prefix, or a folder that the workers see. What is new is told by ETag, in a folder by size and
    time of change. Each run is a batch; what it leaves over joins the next one. A schedule that is replaced remembers
    what it has seen; one that is removed does not.
    """
    wanted, is_alone = _wanted(options), _is_alone()
    with _account(account_name) as (settings, engine, account_id):
        try:
            definitions.check_places(Storage.from_settings(settings), wanted)
            with engine.begin() as connection:
                owner = owner_of(connection, account_id, bucket=settings.s3_bucket)
                added = definitions.add_schedule(connection, owner, wanted, allowed_hosts=settings.allowed_hosts)
        except InvalidSchedule as error:
            raise UsageFault(str(error)) from None
    if as_json:
        emit({"id": str(added.id), "name": wanted.name, "next_tick": written(added.next_tick)})
        return
    say(f"{wanted.name} is {'added' if added.is_new else 'replaced'}.", style="green")
    say(f"It comes next at {_local(added.next_tick, wanted.time_zone)}; now: photabatch schedule run {wanted.name}")
    _warn(is_alone)


def _wanted(options: dict[str, Any]) -> NewSchedule:
    """Raise UsageFault."""
    beside = ("name", "source", "cron", "time_zone", "include", "exclude", "window", "max_failure_rate", "webhook_url")
    fields = {name: options.pop(name) for name in beside}
    if "://" not in fields["source"]:
        fields["source"] = str(Path(fields["source"]).resolve())
    priority, budget, out = options.pop("priority"), options.pop("budget"), options.pop("out")
    operation = options.pop("operation")
    if operation is None:
        raise UsageFault("--op says what to do: enhance, edit or remix")
    if out is not None and not out.startswith("s3://"):
        raise UsageFault(
            f"--out {out}: results of a schedule go to s3://bucket/prefix; `photabatch results` fetches them"
        )
    recipe, _ = recipe_of(operation, options, output=out)
    return NewSchedule(recipe=recipe, priority=Priority[priority.upper()], budget_usd=budget, **fields)


@schedule.command("list")
@_ACCOUNT
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
def list_all(account_name: str, as_json: bool) -> None:
    """List the schedules: when they come next, what they did last, what they do now."""
    with _account(account_name) as (_, engine, account_id), engine.connect() as connection:
        found = list_schedules(connection, account_id)
    for each in found:
        if as_json:
            emit(each.as_json())
        else:
            _show(each)


def _show(each: ScheduleView) -> None:
    comes = "never again" if each.due_at is None else _local(each.due_at, each.time_zone)
    click.secho(each.name, bold=True)
    click.echo(f"    {each.recipe['operation']} {each.source} → {each.output or 'the usual place'}")
    click.echo(f"    {each.cron} {each.time_zone} · next {comes}{_limits(each)}")
    if each.last_run is not None:
        run = each.last_run
        click.echo(f"    last {_local(run.tick, each.time_zone)}: {_numbers(run)}, ended by {run.ended_by}")
        if run.error:
            click.secho(f"    {run.error}", fg="red")
    if each.current_run is not None:
        run = each.current_run
        does = f"listing, {run.seen} seen, {run.found} new" if run.state is RunState.LISTING else "running"
        click.secho(f"    now  {_local(run.tick, each.time_zone)}: {does}; {_numbers(run)}", fg="cyan")


def _limits(each: ScheduleView) -> str:
    budget = "" if each.budget_usd is None else f" · ${each.budget_usd:.2f} a run"
    return budget + ("" if each.admission_window is None else f" · begins only {each.admission_window}")


def _numbers(run: RunView) -> str:
    over = "carried over" if run.finished_at else "to do"
    return f"{run.done} done, {run.failed} failed, {run.carried_over} {over}, ${Decimal(run.spent_usd):.2f}"


@schedule.command()
@click.argument("name")
@_ACCOUNT
def remove(name: str, account_name: str) -> None:
    """No further runs of NAME, and what it has seen is forgotten. What is queued goes on."""
    with _account(account_name) as (_, engine, account_id), engine.begin() as connection, _known():
        definitions.remove_schedule(connection, account_id, name)
    say(f"{name} is removed; what it has queued goes on.")


@schedule.command()
@click.argument("name")
@_ACCOUNT
def run(name: str, account_name: str) -> None:
    """Begin a run of NAME now, beside the clock's; it ends one that is going on. Prints its id."""
    is_alone = _is_alone()
    with _account(account_name) as (_, engine, account_id), engine.begin() as connection, _known():
        run_id = definitions.run_now(connection, account_id, name)
    click.echo(run_id)
    say("Follow it: photabatch schedule list")
    _warn(is_alone)


@contextmanager
def _known() -> Iterator[None]:
    try:
        yield
    except NoSuchSchedule as error:
        raise UsageFault(f"{error}; `photabatch schedule list` shows them") from None
    except AlreadyBegun as error:
        raise CommandError(str(error), Exit.NOTHING_TO_DO) from None


def _is_alone() -> bool:
    """Whether services run for this command alone."""
    settings = load_settings()
    return not is_complete(settings) and read_running(settings.home) is None


def _warn(is_alone: bool) -> None:
    if is_alone:
        say("Nothing is up that would carry it out: `photabatch up` does.", style="yellow")


def _local(moment: datetime, time_zone: str) -> str:
    return moment.astimezone(zone_of(time_zone)).strftime("%Y-%m-%d %H:%M %Z")
