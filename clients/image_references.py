"""What an image of a job may be: `https://…`, `s3://bucket/key`, or `http://` from a host that the operator allowed."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from clients.addresses import AllowedHosts, url_fault
from clients.s3_uri import S3Uri

LONGEST_URL = 8_192  # characters; what common servers take in a request line


def check_reference(value: str, info: ValidationInfo) -> str:
    """Pydantic validator; the hosts allowed over http come as `allowed_hosts` in its context."""
    allowed = (info.context or {}).get("allowed_hosts", ())
    reason = _fault(value, allowed)
    if reason is not None:
        raise PydanticCustomError("bad_url", reason)
    return value


def _fault(value: str, allowed_hosts: Sequence[str]) -> str | None:
    if not value:
        return "is empty"
    if len(value) > LONGEST_URL:
        return "is too long for a URL; bytes are uploaded, not put into the request"
    if value.startswith("s3://"):
        return _s3_fault(value)
    if not value.lower().startswith(("https://", "http://")):
        return "must begin with https:// or s3://"
    return url_fault(value, allowed_hosts=allowed_hosts) or _plain_fault(value, allowed_hosts)


def _s3_fault(value: str) -> str | None:
    try:
        return None if S3Uri.parse(value).key else "names a bucket but no key"
    except ValueError as error:
        return str(error)


def _plain_fault(url: str, allowed_hosts: Sequence[str]) -> str | None:
    if url[:5].lower() != "https" and not AllowedHosts(allowed_hosts).names(urlsplit(url).hostname or ""):
        return "must be https://, or its host one of PHOTABATCH_ALLOWED_HOSTS"
    return None
