"""Where the API is and who asks: arguments first, then the environment."""

import os
from dataclasses import dataclass, field

import httpx

from photabatch.errors import NotConfigured

DEFAULT_URL = "http://127.0.0.1:8080"
# Seconds without a byte. Uploads and answers of a slow disk fit; a dead peer is noticed.
TIMEOUTS = httpx.Timeout(connect=5, read=60, write=60, pool=60)


@dataclass(frozen=True, slots=True)
class Settings:
    """`url`: the API's root without a slash at its end."""

    url: str
    api_key: str = field(repr=False)

    @classmethod
    def read(cls, url: str | None, api_key: str | None) -> "Settings":
        """Raise NotConfigured."""
        root = (url or os.environ.get("PHOTABATCH_API_URL") or DEFAULT_URL).strip().rstrip("/")
        key = (api_key or os.environ.get("PHOTABATCH_API_KEY") or "").strip()
        _check_url(root)
        if not key:
            raise NotConfigured("no API key: pass api_key or set PHOTABATCH_API_KEY (photabatch key create makes one)")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise NotConfigured("the API key has characters that no key has; was it copied whole?")
        return cls(root, key)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}", "User-Agent": "photabatch-python"}


def _check_url(url: str) -> None:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise NotConfigured(f"the API address cannot be read: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.host or parts.userinfo or parts.query or parts.fragment:
        raise NotConfigured("the API address must be http(s)://host[:port][/path], without user name and query")
