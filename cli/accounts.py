"""Commands that are about one account."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy import Engine

from cli.exits import UsageFault
from cli.fleet import open_database, services
from models.accounts import find_account
from producer.ownership import Owner
from settings import Settings

account_option = click.option("--account", "account_name", metavar="NAME", default="default", show_default=True)


@contextmanager
def account_services(name: str, *, with_workers: bool = False) -> Iterator[tuple[Settings, Engine, Owner]]:
    """The services as `cli.fleet.services` finds them, and the account of that name. Raise UsageFault, CannotStart."""
    with services(with_workers=with_workers) as settings:
        engine = open_database(settings)
        with engine.connect() as connection:
            account = find_account(connection, name)
        if account is None:
            raise UsageFault(f"{name}: no such account")
        yield settings, engine, Owner(account, settings.s3_bucket)
