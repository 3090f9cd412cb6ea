"""Who reaches whom: policies that follow from the addresses in force."""

import ipaddress
import logging
from urllib.parse import urlsplit

from settings import CALLBACK_PATH, Settings

log = logging.getLogger(__name__)


def reaches_storage(settings: Settings) -> bool:
    """Whether Phota's servers can fetch presigned URLs: a public endpoint, or all on this machine."""
    if not settings.s3_endpoint_url:
        return True
    return not _is_private(settings.s3_endpoint_url) or reaches_private_hosts(settings)


def reaches_private_hosts(settings: Settings) -> bool:
    """Whether Phota's servers stand in the same network as we do."""
    return _is_private(settings.phota_root or "")


def callback_url(settings: Settings) -> str | None:
    """Where Phota is asked to call back; None without an address, or for one that Phota would refuse every job for."""
    if settings.public_url is None:
        return None
    if not settings.public_url.startswith("https://") and not reaches_private_hosts(settings):
        log.warning("PHOTABATCH_PUBLIC_URL is not https://, which Phota demands: no callbacks, results are polled for")
        return None
    return settings.public_url + CALLBACK_PATH


def _is_private(url: str) -> bool:
    """Names without a dot (`localhost`, compose services) and addresses that are not global."""
    host = urlsplit(url).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))
