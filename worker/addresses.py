"""Who reaches whom: policies that follow from the addresses in force."""

import ipaddress
from urllib.parse import urlsplit

from settings import Settings

SIMULATED_KEY = "simulated"  # the simulated API takes any key that is not empty


def phota_key(settings: Settings) -> str:
    return settings.phota_api_key.get_secret_value() if settings.phota_api_key else SIMULATED_KEY


def reaches_storage(settings: Settings) -> bool:
    """Whether Phota's servers can fetch presigned URLs: a public endpoint, or all on this machine."""
    if not settings.s3_endpoint_url:
        return True
    return not _is_private(settings.s3_endpoint_url) or _is_private(settings.phota_root or "")


def _is_private(url: str) -> bool:
    """Names without a dot (`localhost`, compose services) and addresses that are not global."""
    host = urlsplit(url).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))
