"""`photabatch trigger`: work that comes by uploads."""

from datetime import datetime
from typing import Any

import click

from cli.accounts import account_option, account_services
from cli.exits import UsageFault
from cli.fleet import is_complete, load_settings
from cli.orders import check_bucket
from cli.request_options import Money, param_options, recipe_of
from cli.terminal import emit, say
from clients.s3_uri import S3Uri
from clients.storage import Storage
from models import Priority
from models.moments import written
from models.triggers import TriggerMade, TriggerRow, all_triggers, made_by
from producer.uploads import triggers
from producer.uploads.trigger_rules import EVER
from producer.uploads.triggers import MOST, QUIET_S, REPAIR_S, InvalidTrigger, NewTrigger
from sandbox.stack import read_running

_LISTED = ("name", "account", "suffix", "output", "quiet_s", "most", "webhook_url", "repair_s")


@click.group()
def trigger() -> None:
    """Triggers: what is uploaded below a prefix is worked on at once."""


@trigger.command()
@click.argument("name")
@click.argument("source", metavar="s3://BUCKET/PREFIX")
@param_options
@click.option(
    "--suffix", default="", metavar="SUFFIX", help="Only keys that end so, in capitals too; or what Phota takes."
)
@click.option("--out", metavar="DEST", help="s3://bucket/prefix for the results; without it the usual place.")
@click.option("--priority", type=click.Choice(["interactive", "normal", "bulk"]), default="interactive")
@click.option(
    "--quiet",
    "quiet_s",
    type=float,
    default=QUIET_S,
    show_default=True,
    metavar="SECONDS",
    help="A burst is one batch; it ends when nothing was uploaded for so long,",
)
@click.option("--most", type=int, default=MOST, show_default=True, help="or with so many pictures.")
@click.option("--budget", type=Money(), metavar="USD", help="Never spend more than this a burst.")
@click.option("--webhook", "webhook_url", metavar="URL", help="Where the events of each burst are posted.")
@click.option("--since", metavar="now|all|ISO", help="Leave alone what was uploaded before. [now]")
@click.option(
    "--repair-every",
    "repair_s",
    type=float,
    default=REPAIR_S,
    show_default=True,
    metavar="SECONDS",
    help="How often a listing looks for what no event told of.",
)
@account_option
@click.option("--json", "as_json", is_flag=True)
def add(account_name: str, as_json: bool, **options: Any) -> None:
    """Enhance or edit what is uploaded to s3://BUCKET/PREFIX from now on; in place of the trigger NAME.

    Events reach it by `POST /v1/events/s3` or `photabatch events`; without any, the listings alone find everything. A
    trigger that is given again remembers what it has seen, unless it looks elsewhere, or `--since` is another.
    """
    wanted = _wanted(options)
    is_alone = _is_alone()
    with account_services(account_name) as (settings, engine, owner):
        storage = Storage.from_settings(settings)
        check_bucket(storage, wanted.source.bucket, str(wanted.source))
        if wanted.recipe.output is not None:
            check_bucket(storage, S3Uri.parse(wanted.recipe.output).bucket, "--out")
        try:
            with engine.begin() as connection:
                added = triggers.add_trigger(connection, owner, wanted, allowed_hosts=settings.allowed_hosts)
        except InvalidTrigger as error:
            raise UsageFault(str(error)) from None
    if as_json:
        emit(_plain(added.trigger))
    else:
        done = "added" if added.is_new else "changed; what it has seen stays seen"
        say(f"{wanted.name} is {done}. {_since(added.trigger)}", style="green")
    if added.fed_by:
        say(f"What {' and '.join(added.fed_by)} puts there is passed over: results are never uploads.", style="yellow")
    if is_alone:
        say("Nothing works on it yet: start `photabatch up`.", style="yellow")


def _is_alone() -> bool:
    """Whether the services of this command end with it."""
    settings = load_settings()
    return not is_complete(settings) and read_running(settings.home) is None


def _wanted(options: dict[str, Any]) -> NewTrigger:
    """Raise UsageFault."""
    beside = ("name", "suffix", "quiet_s", "most", "webhook_url", "repair_s")
    fields = {name: options.pop(name) for name in beside}
    source, since = _source(options.pop("source")), options.pop("since")
    priority, budget, out = options.pop("priority"), options.pop("budget"), options.pop("out")
    operation = options.pop("operation")
    if operation is None:
        raise UsageFault("--op says what to do: enhance, edit or remix")
    if out is not None and not out.startswith("s3://"):
        raise UsageFault(
            f"--out {out}: results of a trigger go to s3://bucket/prefix; `photabatch results` fetches them"
        )
    recipe, _ = recipe_of(operation, options, output=out)
    return NewTrigger(
        source=source,
        recipe=recipe,
        priority=Priority[priority.upper()],
        budget_usd=budget,
        since=_moment(since),
        is_afresh=since == "now",
        **fields,
    )


def _source(text: str) -> S3Uri:
    try:
        return S3Uri.parse(text)
    except ValueError as error:
        raise UsageFault(f"{text}: {error}; a folder is watched by `photabatch watch-folder`") from None


def _moment(since: str | None) -> datetime | None:
    if since in (None, "now"):
        return None
    if since == "all":
        return EVER
    try:
        moment = datetime.fromisoformat(str(since))
    except ValueError:
        raise UsageFault(f"--since {since}: now, all, or a moment such as 2026-05-01T12:00Z") from None
    return moment if moment.tzinfo else moment.astimezone()


@trigger.command("list")
@account_option
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
def list_all(account_name: str, as_json: bool) -> None:
    """List the triggers: what they look at, what came of it, when a listing last looked for more."""
    with account_services(account_name) as (_, engine, owner), engine.connect() as connection:
        found = [each for each in all_triggers(connection) if each.account_id == owner.account.id]
        listed = [(each, made_by(connection, each)) for each in found]
    for each, made in listed:
        if as_json:
            emit(_plain(each) | {"made": _plain_made(made)})
        else:
            _show(each, made)


def _show(each: TriggerRow, made: TriggerMade) -> None:
    budget = "" if each.budget_usd is None else f" · ${each.budget_usd:.2f} a burst"
    looked = "not yet" if each.repaired_at is None else f"{each.repaired_at.astimezone():%Y-%m-%d %H:%M:%S}"
    click.secho(each.name, bold=True)
    click.echo(f"    {each.recipe['operation']} {_place(each)} → {each.output or 'the usual place'}")
    click.echo(f"    a burst ends after {each.quiet_s:g} s or {each.most} pictures{budget} · {_since(each)}")
    click.echo(
        f"    {made.jobs} jobs, {made.bursts} bursts: {made.done} done, {made.failed} failed, ${made.spent_usd:.2f}"
    )
    click.echo(f"    listed {looked}, every {each.repair_s:g} s")


def _place(each: TriggerRow) -> str:
    return f"s3://{each.bucket}/{each.prefix}" + (f"…{each.suffix}" if each.suffix else "")


def _since(each: TriggerRow) -> str:
    if each.since <= EVER:
        return "It takes all that is there, and all that comes."
    return f"It takes what is uploaded from {each.since.astimezone():%Y-%m-%d %H:%M:%S} on."


def _plain(each: TriggerRow) -> dict[str, Any]:
    return {
        "id": str(each.id),
        **{name: getattr(each, name) for name in _LISTED},
        "source": f"s3://{each.bucket}/{each.prefix}",
        "operation": each.recipe["operation"],
        "params": each.recipe["params"],
        "priority": Priority(each.priority).name.lower(),
        "budget_usd": None if each.budget_usd is None else float(each.budget_usd),
        "since": written(each.since),
        "repaired_at": written(each.repaired_at),
        "created_at": written(each.created_at),
    }


def _plain_made(made: TriggerMade) -> dict[str, Any]:
    counts = {"bursts": made.bursts, "jobs": made.jobs, "done": made.done, "failed": made.failed}
    return counts | {"spent_usd": float(made.spent_usd)}


@trigger.command()
@click.argument("name")
@account_option
def remove(name: str, account_name: str) -> None:
    """Take no uploads for NAME any more. Its jobs go on; what it has seen is forgotten."""
    with account_services(account_name) as (_, engine, owner), engine.begin() as connection:
        if not triggers.remove_trigger(connection, owner.account.id, name):
            raise UsageFault(f"{name}: no such trigger; `photabatch trigger list` shows them")
    say(f"{name} is removed.", style="green")
