"""Uploads by somebody else: objects put without photabatch, and the events that S3 posts of them."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

import boto3
import pytest
from botocore.config import Config
from sqlalchemy import Engine, text

from clients.phota_requests import Operation
from clients.s3_uri import S3Uri
from clients.storage import Storage
from producer.ownership import OPERATOR, Owner
from producer.recipes import Recipe
from producer.uploads.arrivals import Accepted, accept
from producer.uploads.s3_events import parse_events
from producer.uploads.trigger_rules import EVER
from producer.uploads.triggers import Added, NewTrigger, add_trigger
from sandbox.stack import Stack

BUCKET = "photabatch"
OWNER = Owner(OPERATOR, BUCKET)
ENHANCE = Recipe(Operation.ENHANCE, {}, output="s3://results/done/{batch}/{custom_id}-{index}.{ext}")


@dataclass
class Uploads:
    """A folder of its own in a bucket: `prefix` ends with a slash."""

    s3: Any
    storage: Storage
    bucket: str = BUCKET
    prefix: str = field(default_factory=lambda: f"{uuid.uuid4()}/")

    def put(self, name: str, data: bytes = b"photo", **fields: Any) -> dict[str, Any]:
        """The record of S3's event about it, as AWS writes it."""
        key = self.prefix + name
        answer = self.s3.put_object(Bucket=self.bucket, Key=key, Body=data, **fields)
        thing = {"key": quote_plus(key, safe="/"), "eTag": answer["ETag"].strip('"'), "size": len(data)}
        thing |= {"versionId": answer["VersionId"]} if "VersionId" in answer else {}
        record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": self.bucket}, "object": thing}}
        return {**record, "eventSource": "aws:s3", "eventTime": "2026-05-01T12:00:00.000Z"}

    def tell(self, engine: Engine, *records: dict[str, Any]) -> Accepted:
        return accept(engine, self.storage, parse_events({"Records": list(records)}), OWNER)

    def watch(self, engine: Engine, name: str = "uploads", **fields: Any) -> Added:
        """A trigger on the folder, for all that was ever put there."""
        wanted = {"source": S3Uri(self.bucket, self.prefix), "recipe": ENHANCE, "since": EVER} | fields
        with engine.begin() as connection:
            return add_trigger(connection, OWNER, NewTrigger(name=name, **wanted))


@pytest.fixture(scope="session")
def s3(stack: Stack) -> Iterator[Any]:
    services = stack.environment()
    client = boto3.client(
        "s3",
        endpoint_url=services["PHOTABATCH_S3_ENDPOINT_URL"],
        region_name=services["AWS_REGION"],
        aws_access_key_id=services["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=services["AWS_SECRET_ACCESS_KEY"],
        config=Config(max_pool_connections=32, proxies={}),
    )
    yield client
    client.close()


@pytest.fixture
def uploads(stack: Stack, s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Uploads]:
    services = stack.environment()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, services[name])
    storage = Storage(endpoint_url=services["PHOTABATCH_S3_ENDPOINT_URL"])
    yield Uploads(s3, storage)
    storage.close()


def rows(engine: Engine, columns: str, rest: str = "FROM jobs ORDER BY id") -> list[Any]:
    """Of each row its one column, or a tuple of several."""
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(f"SELECT {columns} {rest}"))]
    return [row[0] if len(row) == 1 else row for row in found]
