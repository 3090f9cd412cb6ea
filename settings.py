"""Everything photabatch reads from its environment, in one place, read once.

The embedded stack hands its addresses to its children through the same variables, so a process never asks
whether it runs on a laptop or in a fleet.
"""

import functools
import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PHOTA_BASE_URL = "https://api.photalabs.com/v1/phota"
CALLBACK_PATH = "/v1/callbacks/phota"  # of the HTTP API: Phota tells there that a job has ended


def _words(value: object) -> object:
    return [word for word in value.replace(",", " ").split() if word] if isinstance(value, str) else value


class Settings(BaseSettings):
    """What is in force. An empty address means: the embedded twin of `photabatch up`."""

    model_config = SettingsConfigDict(
        env_prefix="PHOTABATCH_",
        env_file=".env",
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,  # it may be a URL with its password
    )

    database_url: SecretStr | None = Field(None, description="Postgres 14 to 18, SQLAlchemy URL")
    broker_url: SecretStr | None = Field(None, description="Celery broker: redis://, rediss://, amqp:// or sqs://")

    s3_endpoint_url: str | None = Field(None, description="S3 endpoint; empty means AWS")
    s3_bucket: str = Field("photabatch", description="where outputs go unless a job says otherwise")
    s3_addressing: Literal["auto", "path", "virtual"] = Field("auto", description="how the bucket stands in the URL")

    aws_region: str | None = Field(
        None,
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION", "aws_region"),
        description="S3 region; boto3 itself reads only AWS_DEFAULT_REGION",
    )

    phota_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("PHOTA_API_KEY", "phota_api_key"),
        description="Phota key; without it the simulated API is used, and says so",
    )
    phota_base_url: str | None = Field(
        None, description=f"API root; {PHOTA_BASE_URL} with a key, else the simulated API"
    )
    phota_mode: Literal["async", "sync"] = Field("async", description="sync for accounts without asynchronous jobs")

    concurrency: Literal["auto"] | Annotated[int, Field(ge=1, le=100_000)] = Field(
        "auto", description="`auto`, or a fixed number of requests in flight for the whole fleet"
    )
    concurrency_max: int = Field(256, ge=1, le=100_000, description="ceiling of `auto`, requests in flight")
    threads: int = Field(16, ge=1, le=256, description="chunks a worker process works on at once")
    chunk: int = Field(32, ge=1, le=500, description="most ids in one message")

    silence_s: float = Field(
        60.0, ge=1, description="a worker that has taken no message for so long, though one waits, ends: seconds"
    )

    api_port: int = Field(8080, ge=1, le=65_535, description="HTTP port of `up` and `api`")
    public_url: str | None = Field(
        None, description="where the HTTP API is reached from outside: Phota calls back there; without it, only polling"
    )

    allowed_hosts: Annotated[list[str], NoDecode, BeforeValidator(_words)] = Field(
        default_factory=list,
        description="private hosts or networks that inputs and webhooks may reach, separated by commas",
    )
    sns_topics: Annotated[list[str], NoDecode, BeforeValidator(_words)] = Field(
        default_factory=list,
        description="ARNs of the Amazon SNS topics that upload events may come by, separated by commas",
    )
    home: Path = Field(Path(".photabatch"), description="data folder of the embedded stack")
    failpoint: str | None = Field(
        None,
        pattern=r"^[a-z_]+:(kill|error|block:\d+(\.\d+)?)(:\d+)?$",
        description="`name:kill`, `name:error` or `name:block:SECONDS`: a fault at a named point, for tests",
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        """As copied from `.env.example`; only the S3 endpoint means something when it is empty."""
        return {name: value for name, value in values.items() if value != "" or name.endswith("s3_endpoint_url")}

    @field_validator("database_url")
    @classmethod
    def _psycopg(cls, value: SecretStr | None) -> SecretStr | None:
        """`postgres://` and `postgresql://`, as every provider prints them, mean psycopg here."""
        if value is None:
            return None
        scheme = _scheme(value)
        if scheme in ("postgres", "postgresql"):
            return SecretStr(f"postgresql+psycopg{value.get_secret_value().removeprefix(scheme)}")
        if scheme != "postgresql+psycopg":
            raise ValueError(f"expected postgresql://user:password@host:port/name, got the scheme {scheme!r}")
        return value

    @field_validator("database_url", "broker_url")
    @classmethod
    def _with_port(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            _ = value and urlsplit(value.get_secret_value()).port
        except ValueError:
            raise ValueError("its port is not a number up to 65535; percent-encode special characters") from None
        return value

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: SecretStr | None) -> SecretStr | None:
        scheme = _scheme(value) if value else "redis"
        if scheme not in ("redis", "rediss", "amqp", "amqps", "sqs"):
            raise ValueError(f"expected redis://, rediss://, amqp://, amqps:// or sqs://, got {scheme!r}")
        return value

    @field_validator("s3_endpoint_url", "phota_base_url", "public_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if not value:
            return value
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https"):
            raise ValueError("expected an http(s):// address")
        if "@" in parts.netloc:
            raise ValueError("must not contain a user name or password; `photabatch env` and logs tell it")
        return str(value).rstrip("/")

    @property
    def phota_root(self) -> str | None:
        """API root in force; None until the embedded stack has started the simulated API."""
        return self.phota_base_url or (PHOTA_BASE_URL if self.phota_api_key else None)

    @property
    def phota_key(self) -> str:
        """What is sent to Phota; the simulated API takes any key that is not empty."""
        return self.phota_api_key.get_secret_value() if self.phota_api_key else "simulated"

    @property
    def is_simulated(self) -> bool:
        """A root without a key. With neither, who calls is elsewhere, and may well have a key."""
        return self.phota_api_key is None and self.phota_base_url is not None


def _scheme(url: SecretStr) -> str:
    """What stands before `://`; empty for anything else, which may be a password."""
    scheme, colon, _ = url.get_secret_value().partition("://")
    return scheme if colon else ""


@functools.cache
def get_settings() -> Settings:
    """Raise pydantic.ValidationError, which names the variable, if the environment does not make sense."""
    return Settings()


def known_secrets() -> tuple[str, ...]:
    """Keys and passwords in force, as far as this process was given them: what no log may hold."""
    try:
        settings = get_settings()
    except ValidationError:
        return ()
    found = [os.environ.get(name) for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")]
    found += [settings.phota_api_key.get_secret_value()] if settings.phota_api_key else []
    for url in (settings.database_url, settings.broker_url):
        password = urlsplit(url.get_secret_value()).password if url else None
        found += [password, unquote(password)] if password else []
    return tuple(dict.fromkeys(filter(None, found)))
