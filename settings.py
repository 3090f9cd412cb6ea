"""Everything photabatch reads from its environment, in one place, read once.

The embedded stack hands its addresses to its children through the same variables, so a process never asks
whether it runs on a laptop or in a fleet.
"""

import functools
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PHOTA_BASE_URL = "https://api.photalabs.com/v1/phota"
CALLBACK_PATH = "/v1/callbacks/phota"  # of the HTTP API: Phota tells there that a job has ended


def _words(value: object) -> object:
    return [word for word in value.replace(",", " ").split() if word] if isinstance(value, str) else value


class Settings(BaseSettings):
    """What is in force. An empty address means: the embedded twin of `photabatch up`."""

    model_config = SettingsConfigDict(env_prefix="PHOTABATCH_", env_file=".env", extra="ignore", populate_by_name=True)

    database_url: SecretStr | None = Field(None, description="Postgres 15 to 18, SQLAlchemy URL")
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
    failpoint: str | None = Field(None, description="`name:kill` or `name:error`: a fault at a named point, for tests")

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
        scheme, _, rest = value.get_secret_value().partition("://")
        if scheme in ("postgres", "postgresql"):
            return SecretStr(f"postgresql+psycopg://{rest}")
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
        scheme = value.get_secret_value().partition("://")[0] if value else "redis"
        if scheme not in ("redis", "rediss", "amqp", "amqps", "sqs"):
            raise ValueError(f"expected redis://, rediss://, amqp://, amqps:// or sqs://, got {scheme!r}")
        return value

    @field_validator("s3_endpoint_url", "phota_base_url", "public_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if not value:
            return value
        if urlsplit(value).scheme not in ("http", "https"):
            raise ValueError(f"expected an http(s):// address, got {value!r}")
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
        return self.phota_api_key is None


@functools.cache
def get_settings() -> Settings:
    """Raise pydantic.ValidationError, which names the variable, if the environment does not make sense."""
    return Settings()
