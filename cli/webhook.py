"""`photabatch webhook`: who is told, and what became of it."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
from sqlalchemy import Connection, Engine

from cli.exits import Exit, UsageFault
from cli.fleet import open_database, services
from cli.terminal import emit, say
from models.accounts import find_account
from models.deliveries import DeliveryView, close_ping, list_deliveries, read_delivery
from models.endpoints import EndpointView, find_endpoints, list_endpoints, remove_endpoint
from models.states import DeliveryState
from producer import webhooks
from producer.webhooks import EndpointDisabled, InvalidEndpoint
from settings import Settings

_PING_S = 20.0  # a delivery's own 15 s, and the way there
_COLOURS: dict[str, dict[str, Any]] = {
    "ok": {"fg": "green"},
    "failing": {"fg": "yellow"},
    "disabled": {"fg": "white", "bg": "red", "bold": True},
}


@click.group()
def webhook() -> None:
    """Webhook endpoints: URLs that are told of the events of an account."""


_ACCOUNT = click.option("--account", "account_name", metavar="NAME", default="default", show_default=True)
_JSON = click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")


@contextmanager
def _account(name: str, *, with_workers: bool = False) -> Iterator[tuple[Settings, Engine, uuid.UUID]]:
    """The services, and the account of that name."""
    with services(with_workers=with_workers) as settings:
        engine = open_database(settings)
        with engine.connect() as connection:
            account = find_account(connection, name)
        if account is None:
            raise UsageFault(f"{name}: no such account")
        yield settings, engine, account.id


def _found(connection: Connection, account_id: uuid.UUID, word: str) -> EndpointView:
    """The endpoint of that id, beginning of an id, or URL."""
    found = find_endpoints(connection, account_id, word) if word else []
    exact = [endpoint for endpoint in found if word in (str(endpoint.id), endpoint.url)]
    if len(exact or found) != 1:
        fault = "several endpoints begin so" if found else "no such endpoint"
        raise UsageFault(f"{word}: {fault}; `photabatch webhook list --all` shows them")
    return (exact or found)[0]


def _words(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> list[str]:
    return [word for value in values for word in value.replace(",", " ").split()]


@webhook.command()
@click.argument("url")
@click.option(
    "--events",
    multiple=True,
    callback=_words,
    metavar="TYPES",
    help="Exact types, `job.*`, `batch.*` (for a new one), `schedule.*` or `*`; several with commas.",
)
@click.option("--digest/--no-digest", default=None, help="Job events of batches together, at most one call a second.")
@_ACCOUNT
@_JSON
def add(url: str, events: list[str], digest: bool | None, account_name: str, as_json: bool) -> None:
    """Tell URL from now on; one that is known is enabled, and changed by the options given. Prints the secret, once."""
    with _account(account_name) as (settings, engine, account_id):
        try:
            with engine.begin() as connection:
                registered = webhooks.register(
                    connection,
                    account_id,
                    url,
                    events=events or None,
                    is_digest=digest,
                    allowed_hosts=settings.allowed_hosts,
                )
        except InvalidEndpoint as error:
            raise UsageFault(str(error)) from None
    if as_json:
        emit({"id": str(registered.id), "url": url, "secret": registered.secret})
        return
    click.echo(registered.id)
    say(f"It is told of {', '.join(registered.events)}{', in digests' if registered.is_digest else ''}.")
    if registered.secret:
        click.echo(registered.secret)
        say("This is the secret that signs; it is not shown again.", style="yellow")
    else:
        say("It keeps its secret; `photabatch webhook rotate` makes a new one.")


@webhook.command("list")
@click.option("--all", "everything", is_flag=True, help="Also every URL that a batch or a job has named.")
@_ACCOUNT
@_JSON
def list_all(everything: bool, account_name: str, as_json: bool) -> None:
    """List the registered endpoints, and any that is failing or disabled."""
    with _account(account_name) as (_, engine, account_id), engine.connect() as connection:
        found = list_endpoints(connection, account_id, everything=everything)
    for endpoint in found:
        if as_json:
            emit(endpoint.as_json())
            continue
        said = "never" if endpoint.last_delivered_at is None else _when(endpoint.last_delivered_at)
        events = ",".join(endpoint.events) + (" in digests" if endpoint.is_digest else "") or "as batches and jobs name"
        click.echo(f"{endpoint.id}  {endpoint.url}")
        click.echo(f"    {events} · {endpoint.pending} pending · last delivered {said}")
        click.secho(f"    {_standing(endpoint)}", **_COLOURS[endpoint.state])


def _standing(endpoint: EndpointView) -> str:
    if endpoint.disabled_reason is not None:
        return f"DISABLED: {endpoint.disabled_reason}; its events are kept: photabatch webhook enable {endpoint.id}"
    if endpoint.failing_since is not None:
        tries = f"{endpoint.failures} {'try' if endpoint.failures == 1 else 'tries'} in a row"
        return f"failing since {_when(endpoint.failing_since)} ({tries})"
    return "ok"


@webhook.command()
@click.argument("endpoint")
@_ACCOUNT
def remove(endpoint: str, account_name: str) -> None:
    """Register ENDPOINT no more; its secret is gone. What batches and jobs name themselves still goes there."""
    with _account(account_name) as (_, engine, account_id), engine.begin() as connection:
        found = _found(connection, account_id, endpoint)
        given_up = remove_endpoint(connection, account_id, found.id)
    say(f"{found.url} is removed; {given_up} pending events were given up.")


@webhook.command()
@click.argument("endpoint", required=False)
@click.option(
    "--overlap",
    type=click.FloatRange(0, 24 * 365),
    metavar="HOURS",
    default=webhooks.OVERLAP_S / 3600,
    show_default=True,
    help="So long the secret before signs too.",
)
@_ACCOUNT
@_JSON
def rotate(endpoint: str | None, overlap: float, account_name: str, as_json: bool) -> None:
    """Make a new secret for ENDPOINT, or for the account, and print it, once."""
    with _account(account_name) as (_, engine, account_id), engine.begin() as connection:
        found = _found(connection, account_id, endpoint) if endpoint else None
        secret = webhooks.rotate(connection, account_id, found.id if found else None, overlap_s=overlap * 3600)
    if as_json:
        emit({"endpoint": found and str(found.id), "secret": secret})
        return
    click.echo(secret)
    say(f"The old secret signs too for {overlap:g} hour{'' if overlap == 1 else 's'}.", style="yellow")


@webhook.command()
@click.argument("endpoint")
@_ACCOUNT
def enable(endpoint: str, account_name: str) -> None:
    """Send to ENDPOINT again: new events, and at once what waits for its next try."""
    with _account(account_name) as (_, engine, account_id), engine.begin() as connection:
        found = _found(connection, account_id, endpoint)
        webhooks.enable(connection, account_id, found.id)
    say(f"{found.url} is enabled. What was given up: photabatch webhook replay {found.id}", style="green")


@webhook.command()
@click.argument("endpoint", required=False)
@click.option("--failed", is_flag=True, help="Only what was given up.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@_ACCOUNT
@_JSON
def deliveries(endpoint: str | None, failed: bool, limit: int, account_name: str, as_json: bool) -> None:
    """List events, the newest first, of ENDPOINT or of all."""
    with _account(account_name) as (_, engine, account_id), engine.connect() as connection:
        found = _found(connection, account_id, endpoint) if endpoint else None
        listed = list_deliveries(
            connection, account_id, endpoint_id=found.id if found else None, failed=failed, limit=limit
        )
    for delivery in listed:
        if as_json:
            emit(delivery.as_json())
        else:
            click.echo(f"{delivery.id}  {_when(delivery.created_at)}  {delivery.type:28} {_outcome(delivery)}")
            click.echo(f"    {_subject(delivery)} to {delivery.url}")


def _subject(delivery: DeliveryView) -> str:
    """What it tells of."""
    told = {"job": delivery.job_id, "batch": delivery.batch_id, "schedule run": delivery.schedule_run_id}
    return next((f"{what} {each}" for what, each in told.items() if each is not None), "itself")


def _outcome(delivery: DeliveryView) -> str:
    said = f"{delivery.state}, {delivery.tries} {'try' if delivery.tries == 1 else 'tries'}"
    if delivery.error:
        said += f", {delivery.error}"
    return f"{said}, next {_when(delivery.due_at)}" if delivery.due_at and delivery.tries else said


@webhook.command()
@click.argument("endpoint")
@click.option("--failed", "which", flag_value="failed", default=True, help="What was given up (default).")
@click.option("--all", "which", flag_value="all", help="Also what was delivered.")
@click.option("--since", metavar="ISO", help="Only events from this moment on, such as 2026-05-01T12:00Z.")
@click.option("--id", "delivery_id", type=click.UUID, help="One delivery, whatever became of it.")
@_ACCOUNT
def replay(endpoint: str, which: str, since: str | None, delivery_id: uuid.UUID | None, account_name: str) -> int:
    """Send events to ENDPOINT again, with the same ids; what waits for its next try is tried now."""
    moment = _moment(since) if since else None
    with _account(account_name) as (_, engine, account_id), engine.begin() as connection:
        found = _found(connection, account_id, endpoint)
        with _must_be_enabled(found):
            hurried = webhooks.try_now(connection, found) if delivery_id is None else 0
            count = webhooks.replay(
                connection, found, delivered_too=which == "all", since=moment, delivery_id=delivery_id
            )
    say(f"{count} {'event is' if count == 1 else 'events are'} sent to {found.url} again.")
    if hurried:
        say(f"{hurried} that waited for the next try {'is' if hurried == 1 else 'are'} tried now.")
    return Exit.SUCCEEDED if count or hurried else Exit.NOTHING_TO_DO


def _moment(since: str) -> datetime:
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise UsageFault(f"--since {since}: not a moment such as 2026-05-01T12:00Z") from None
    return moment if moment.tzinfo else moment.astimezone()


@webhook.command()
@click.argument("endpoint")
@_ACCOUNT
@_JSON
def ping(endpoint: str, account_name: str, as_json: bool) -> int:
    """Send ENDPOINT a `webhook.ping` and tell what it answered."""
    with _account(account_name, with_workers=True) as (_, engine, account_id):
        with engine.begin() as connection:
            found = _found(connection, account_id, endpoint)
            with _must_be_enabled(found):
                delivery_id = webhooks.ping(connection, found)
        delivery = _tried(engine, delivery_id)
    if as_json:
        emit(delivery.as_json())
    if delivery.state is DeliveryState.DELIVERED:
        say(f"{found.url} took it: HTTP {delivery.http_status}", style="green")
        return Exit.SUCCEEDED
    reason = delivery.error if delivery.tries else f"no worker has tried within {_PING_S:g} s; does the fleet run?"
    say(f"{found.url} did not take it: {reason}", style="red")
    return Exit.SOME_FAILED


def _tried(engine: Engine, delivery_id: uuid.UUID) -> DeliveryView:
    """After its first try, or when the time is over; it is not tried again."""
    deadline = time.monotonic() + _PING_S
    while True:
        with engine.begin() as connection:
            delivery = read_delivery(connection, delivery_id)
            if delivery.tries == 0 and delivery.state is DeliveryState.PENDING and time.monotonic() < deadline:
                pause_s = 0.1
            else:
                close_ping(connection, delivery_id)
                return delivery
        time.sleep(pause_s)


@contextmanager
def _must_be_enabled(endpoint: EndpointView) -> Iterator[None]:
    try:
        yield
    except EndpointDisabled as error:
        raise UsageFault(f"{error}: photabatch webhook enable {endpoint.id}") from None


def _when(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
