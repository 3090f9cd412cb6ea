"""`photabatch env`: what is in force."""

import os
from typing import Any

import click
from pydantic import SecretStr
from sqlalchemy import make_url, text

from cli.exits import CannotStart, UsageFault
from cli.fleet import is_complete, load_settings, local_url, open_database, use_environment
from cli.terminal import emit
from sandbox.stack import read_running
from settings import Settings


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--show-secrets", is_flag=True, help="Passwords and keys in the clear.")
def env(name: str | None, as_json: bool, show_secrets: bool) -> None:
    """Print what is in force: one NAME, or all."""
    settings = load_settings()
    running = None if is_complete(settings) else read_running(settings.home)
    if running is not None:
        settings = use_environment(running["environment"])
    values = {field: _shown(getattr(settings, field), show_secrets) for field in Settings.model_fields}
    values["phota_base_url"] = settings.phota_root
    values |= {name: _shown(secret, show_secrets) for name, secret in _s3_credentials().items()}
    has_api = running is not None and "PHOTABATCH_API_PORT" in running["environment"]
    values["api_url"] = local_url(settings) if has_api else None
    if name == "webhook_secret" and settings.database_url is None:
        raise CannotStart("The webhook secret is in the database, and none is up: `photabatch up`.")
    if name == "webhook_secret":
        values = {name: _webhook_secret(settings, show_secrets)}
    if name is not None:
        _print_one(name.lower().removeprefix("photabatch_"), values, as_json=as_json)
    elif as_json:
        emit(values)
    else:
        for field, value in values.items():
            click.echo(f"{field}={'' if value is None else value}")


def _s3_credentials() -> dict[str, str | SecretStr | None]:
    """As boto3 reads them from the environment; the embedded S3 has some of its own."""
    secret = os.environ.get("AWS_SECRET_ACCESS_KEY")
    return {
        "aws_access_key_id": os.environ.get("AWS_ACCESS_KEY_ID"),
        "aws_secret_access_key": SecretStr(secret) if secret else None,
    }


def _print_one(name: str, values: dict[str, Any], *, as_json: bool) -> None:
    if name not in values:
        raise UsageFault(f"{name}: no such setting; one of {', '.join([*values, 'webhook_secret'])}")
    if as_json:
        emit({name: values[name]})
    else:
        click.echo("" if values[name] is None else values[name])


def _shown(value: Any, show_secrets: bool) -> Any:
    if not isinstance(value, SecretStr):
        return str(value) if value is not None and not isinstance(value, int | list) else value
    secret = value.get_secret_value()
    if not secret.startswith("postgresql+psycopg://"):
        return secret if show_secrets else "***"
    url = make_url(secret).set(drivername="postgresql")  # as psql and other tools read it
    return url.render_as_string(hide_password=not show_secrets)


def _webhook_secret(settings: Settings, show_secrets: bool) -> str:
    """The default account's, which signs what is sent to `--webhook URL`."""
    engine = open_database(settings)
    with engine.connect() as connection:
        secret = connection.scalar(text("SELECT webhook_secret FROM accounts WHERE name = 'default'"))
    return str(secret) if show_secrets else "***"
