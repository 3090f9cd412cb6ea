"""The boto3 client of a process, with its time-outs and retries."""

import ipaddress
from functools import cache
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.handlers import add_expect_header
from botocore.loaders import Loader, create_loader

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Addressing = Literal["auto", "path", "virtual"]
DEFAULT_REGION = "us-east-1"


def new_s3_client(
    endpoint_url: str | None, *, addressing: Addressing, max_connections: int, region: str | None
) -> "S3Client":
    """Thread-safe; connects at the first call. No endpoint means AWS; credentials are found as boto3 does."""
    core = botocore.session.get_session()
    core.register_component("data_loader", _loader())
    session = boto3.Session(botocore_session=core, region_name=region)
    _loader().search_paths[:] = dict.fromkeys(_loader().search_paths)  # each session of boto3 adds its own once more
    client = session.client(
        "s3",
        endpoint_url=endpoint_url or None,
        region_name=session.region_name or DEFAULT_REGION,
        config=_config(endpoint_url, addressing, max_connections),
    )
    # "Expect: 100-continue" is a round trip before every body; ours are small, and a refused one is not worth it
    client.meta.events.unregister("before-call.s3", add_expect_header)
    return client


@cache
def _loader() -> Loader:
    """Its description of S3 is read once a process: a tenth of a second, and the same for every client."""
    return create_loader()


def _config(endpoint_url: str | None, addressing: Addressing, max_connections: int) -> Config:
    """Path style wherever a bucket cannot stand in the host's name; no proxy between us and this machine."""
    host = urlsplit(endpoint_url or "").hostname or ""
    is_aws = not host or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    if addressing == "auto" and not is_aws:
        addressing = "path"
    return Config(
        signature_version="s3v4",
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=max_connections,
        request_checksum_calculation="when_required",  # SHA-256 is sent instead
        proxies={} if is_local(host) else None,
        s3={"addressing_style": addressing},
    )


def is_local(host: str) -> bool:
    """Whether it is this machine: no proxy stands in between."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
