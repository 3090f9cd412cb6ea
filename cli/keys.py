"""`photabatch key` and `photabatch account`: who may ask over HTTP, and how much."""

import re
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

import click
from sqlalchemy import Connection, Engine

from api.keys import create_key
from cli.exits import UsageFault
from cli.fleet import load_settings, reach_database
from cli.request_options import Money
from cli.terminal import emit, say
from clients.s3_uri import S3Uri
from models.accounts import (
    AccountRef,
    KeyRow,
    find_account,
    knows_time_zone,
    list_accounts,
    list_keys,
    put_account,
    revoke_key,
)
from models.base import new_id
from models.money import Spending, read_spending
from models.states import Scope
from models.windows import zone_of
from producer.webhooks import new_secret

_ACCOUNT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_LONGEST_KEY_NAME = 100


@click.group()
def key() -> None:
    """API keys: what programs and people prove themselves with."""


@key.command("create")
@click.option("--account", default="default", show_default=True, help="Whose jobs the key reads and submits.")
@click.option("--name", default="", help="What it is for, as `key list` shows it.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    default=(Scope.READ.value, Scope.SUBMIT.value),
    help="What it may do, repeatable; `read` and `submit` without it. `admin` means both and /metrics, which are of "
    "the whole installation: for its operator.",
)
def create(account: str, name: str, scopes: tuple[str, ...]) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    if len(name) > _LONGEST_KEY_NAME or not name.isprintable():
        raise UsageFault(f"--name: up to {_LONGEST_KEY_NAME} printable characters")
    wanted = sorted({Scope(scope) for scope in scopes}, key=list(Scope).index)
    with reach_database().begin() as connection:
        made = create_key(connection, _found(connection, account), name=name, scopes=wanted)
    say(f"A key of account {account} with {', '.join(wanted)}; it is shown this once:", style="green")
    click.echo(made)


def first_key(engine: Engine) -> str | None:
    """A key of the default account that may do everything, if the installation has none at all yet."""
    with engine.begin() as connection:
        if list_keys(connection):
            return None
        return create_key(connection, _found(connection, "default"), name="first key", scopes=list(Scope))


def _found(connection: Connection, name: str) -> AccountRef:
    account = find_account(connection, name)
    if account is None:
        raise UsageFault(f"{name}: no such account; `photabatch account add {name}` makes it")
    return account


@key.command("list")
@click.option("--json", "as_json", is_flag=True, help="An object a line.")
def list_all_keys(as_json: bool) -> None:
    """Every key, revoked ones too; never the secret part."""
    with reach_database().connect() as connection:
        keys = list_keys(connection)
    for each in keys:
        if as_json:
            moments = {name: at and at.isoformat() for name, at in asdict(each).items() if name.endswith("_at")}
            emit(asdict(each) | moments)
        else:
            click.echo(f"{each.prefix:14} {each.account:16} {','.join(each.scopes):18} {_use(each):28} {each.name}")


def _use(each: KeyRow) -> str:
    if each.revoked_at is not None:
        return f"revoked {each.revoked_at:%Y-%m-%d %H:%M}"
    return f"used {each.last_used_at:%Y-%m-%d %H:%M}" if each.last_used_at else "never used"


@key.command("revoke")
@click.argument("prefix")
def revoke(prefix: str) -> None:
    """Make the key of that PREFIX (as `key list` shows it, or the whole key) worthless from the next request on."""
    bare = prefix.removeprefix("pb_").partition("_")[0]
    with reach_database().begin() as connection:
        if not revoke_key(connection, bare):
            raise UsageFault(f"{bare}: no such key in force; `photabatch key list` shows them")
    say(f"{bare} is revoked.", style="green")


@click.group()
def account() -> None:
    """Accounts: who submits. Nothing of one is visible to another."""


@account.command("add")
@click.argument("name")
@click.option("--requests-per-minute", type=click.IntRange(0, 1_000_000), help="HTTP requests; 0: no limit.")
@click.option("--queue-limit", type=click.IntRange(0, 2_000_000_000), help="Jobs that may wait; 0: no limit.")
@click.option("--s3", "prefixes", multiple=True, help="s3://bucket/prefix/ it may read and write, repeatable.")
@click.option("--s3-any", is_flag=True, help="It may read and write whatever the credentials reach.")
@click.option("--budget-day", type=Money(), metavar="USD", help="What its jobs may cost a day; 0: no limit.")
@click.option("--budget-month", type=Money(), metavar="USD", help="And a month; 0: no limit.")
@click.option("--time-zone", metavar="ZONE", help="In which its days and months begin: Europe/Paris [UTC].")
def add(name: str, prefixes: tuple[str, ...], s3_any: bool, **limits: Any) -> None:
    """Make the account NAME, or change the limits of the one there is: those that are named, the others stay.

    A new account may use s3://<bucket>/accounts/<its id>/ and nothing else, unless --s3 or --s3-any says otherwise.
    """
    if not _ACCOUNT_NAME.fullmatch(name):
        raise UsageFault(f"{name}: lower-case letters, digits, and . _ - within, up to 63 of them")
    if prefixes and s3_any:
        raise UsageFault("--s3 and --s3-any: one of them")
    with reach_database().begin() as connection:
        known = find_account(connection, name)
        wanted = _limited(known or _new_account(name), **limits)
        if prefixes or s3_any:
            wanted = replace(wanted, s3_prefixes=None if s3_any else tuple(map(_prefix, prefixes)))
        _check_zone(connection, wanted.time_zone)
        put_account(connection, wanted, webhook_secret=new_secret())
    say(f"Account {name} {'is changed' if known else 'is made'}: {_limits(wanted)}", style="green")


def _new_account(name: str) -> AccountRef:
    account_id = new_id()
    return AccountRef(account_id, name, None, None, (f"s3://{load_settings().s3_bucket}/accounts/{account_id}/",))


def _limited(
    account: AccountRef,
    *,
    requests_per_minute: int | None,
    queue_limit: int | None,
    budget_day: Decimal | None,
    budget_month: Decimal | None,
    time_zone: str | None,
) -> AccountRef:
    """With the limits that are named; 0 is none."""
    named = {
        "requests_per_minute": requests_per_minute,
        "queue_limit": queue_limit,
        "budget_day_usd": budget_day,
        "budget_month_usd": budget_month,
    }
    changes: dict[str, Any] = {name: value or None for name, value in named.items() if value is not None}
    return replace(account, **changes, time_zone=time_zone or account.time_zone)


def _check_zone(connection: Connection, name: str) -> None:
    """Raise UsageFault for one that this program or the database does not know."""
    try:
        zone_of(name)
    except ValueError:
        is_known = False
    else:
        is_known = knows_time_zone(connection, name)
    if not is_known:
        raise UsageFault(f"--time-zone {name}: no such time zone; they are named like Europe/Paris or UTC")


def _prefix(text: str) -> str:
    """With a slash at its end: s3://bucket/a must not open s3://bucket/ab."""
    try:
        found = str(S3Uri.parse(text))
    except ValueError as error:
        raise UsageFault(f"--s3 {text}: {error}") from None
    return found if found.endswith("/") else f"{found}/"


def _limits(account: AccountRef) -> str:
    rate = f"{account.requests_per_minute} requests a minute" if account.requests_per_minute else "any rate"
    queue = f"{account.queue_limit} jobs in its queue" if account.queue_limit else "a queue of any length"
    places = "all of S3" if account.s3_prefixes is None else " ".join(account.s3_prefixes)
    return f"{rate}, {queue}, {_budgets(account)}, {places}"


def _budgets(account: AccountRef) -> str:
    budgets = {"day": account.budget_day_usd, "month": account.budget_month_usd}
    told = " and ".join(f"${usd:.2f} a {span}" for span, usd in budgets.items() if usd is not None)
    return f"{told} ({account.time_zone})" if told else "any cost"


@account.command("list")
@click.option("--json", "as_json", is_flag=True, help="An object a line.")
def list_all_accounts(as_json: bool) -> None:
    """Every account with its limits, and what its jobs of today and of this month cost so far."""
    with reach_database().connect() as connection:
        accounts = [(each, read_spending(connection, each.id)) for each in list_accounts(connection)]
    width = max(len(each.name) for each, _ in accounts)
    for each, spending in accounts:
        if as_json:
            emit(_plain(each, spending))
        else:
            spent = f"${spending.day_usd:.2f} today, ${spending.month_usd:.2f} this month"
            click.echo(f"{each.name:{width}}  {each.id}  {spent}; {_limits(each)}")


def _plain(account: AccountRef, spending: Spending) -> dict[str, Any]:
    return asdict(account) | {
        "s3_prefixes": None if account.s3_prefixes is None else list(account.s3_prefixes),
        "budget_day_usd": _float(account.budget_day_usd),
        "budget_month_usd": _float(account.budget_month_usd),
        "spent_day_usd": float(spending.day_usd),
        "spent_month_usd": float(spending.month_usd),
    }


def _float(usd: Decimal | None) -> float | None:
    return None if usd is None else float(usd)
