"""The certificates that Amazon SNS signs with, and what is fetched of Amazon at all."""

import asyncio
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime

import httpx
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from clients.http import NETWORK_ERRORS, failure_of, is_refusal, new_http_client
from clients.phota_errors import redact
from clients.sns_errors import ForgedMessage, SnsRefused, SnsUnavailable, UntrustedUrl

Fetch = Callable[[str], bytes]

FETCH_SECONDS = 5.0  # for all of it
MAX_BYTES = 64 * 2**10  # a certificate has 2 KB, a confirmation's answer 1 KB
MOST_CERTIFICATES = 16  # one a region, and those before a change
_LATER = (408, 425, 429)

# All up to the path is fixed, so that no two parsers can disagree about the host.
_AWS = re.compile(r"https://sns\.[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?/[!-~]*")
_CERTIFICATE = re.compile(r"https://[^/]+/[0-9A-Za-z-]+\.pem")
_BEGIN = b"-----BEGIN CERTIFICATE-----"


def is_aws_url(url: str) -> bool:
    """Whether `url` is https on SNS's own host of a region, `sns.eu-west-1.amazonaws.com` (`….cn` in China)."""
    return _AWS.fullmatch(url) is not None


class Certificates:
    """The last few valid ones, by URL; for use by many threads at once."""

    def __init__(self, fetch: Fetch, is_trusted: Callable[[str], bool]) -> None:
        self._fetch = fetch
        self._is_trusted = is_trusted
        self._kept: OrderedDict[str, x509.Certificate] = OrderedDict()
        self._lock = threading.Lock()

    def public_key(self, url: str, *, now: datetime) -> RSAPublicKey:
        """Of the certificate at `url`. Raise UntrustedUrl, ForgedMessage if it is none or not valid `now`, or as
        `fetch` does."""
        if not self._is_trusted(url) or not _CERTIFICATE.fullmatch(url):
            raise UntrustedUrl("SigningCertURL is not a certificate of Amazon SNS")
        with self._lock:
            certificate = self._kept.get(url)
        certificate = certificate or _parsed(self._fetch(url))
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise ForgedMessage("the certificate that it was signed with has expired, or is not valid yet")
        key = _rsa_key(certificate)
        self._keep(url, certificate)
        return key

    def _keep(self, url: str, certificate: x509.Certificate) -> None:
        with self._lock:
            self._kept[url] = certificate
            self._kept.move_to_end(url)
            while len(self._kept) > MOST_CERTIFICATES:
                self._kept.popitem(last=False)


def _parsed(pem: bytes) -> x509.Certificate:
    """The first of `pem`, which must begin with it: in the midst of something else anybody may have written it."""
    try:
        if not pem.lstrip().startswith(_BEGIN):
            raise ValueError
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise ForgedMessage("what SigningCertURL leads to is no certificate") from None


def _rsa_key(certificate: x509.Certificate) -> RSAPublicKey:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPublicKey):
        raise ForgedMessage("the certificate that it was signed with is not of RSA")
    return key


def fetch_from_amazon(url: str, *, allowed_hosts: Sequence[str] = ()) -> bytes:
    """What is at `url`, without redirects, cookies or proxies, at most MAX_BYTES of it.

    Connects to public addresses only, or to `allowed_hosts`: for a VPC where the name leads to a private endpoint.
    Blocks for FETCH_SECONDS at most (and while the system looks for the name), so it is for a thread without an event
    loop. Raise SnsUnavailable, SnsRefused or UntrustedUrl.
    """

    async def run() -> bytes:
        async with new_http_client(connections=1, allowed_hosts=allowed_hosts) as http:
            return await fetch_small(http, url)

    return asyncio.run(run())


async def fetch_small(http: httpx.AsyncClient, url: str, *, within: float = FETCH_SECONDS) -> bytes:
    """As `fetch_from_amazon`, by `http`, a client with `allowed_hosts`. `within`: seconds for all of it."""
    name = redact(url)
    try:
        async with asyncio.timeout(within):
            headers = {"Accept-Encoding": "identity"}
            async with http.stream("GET", url, headers=headers, follow_redirects=False) as response:
                return await _body(response, name)
    except (*NETWORK_ERRORS, UnicodeError) as error:
        if is_refusal(error):
            raise UntrustedUrl(f"{name} leads to an address that is not public") from error
        raise SnsUnavailable(f"{name}: {failure_of(error).replace('_', ' ')}") from error


async def _body(response: httpx.Response, name: str) -> bytes:
    status = response.status_code
    if status in _LATER or status >= 500:
        raise SnsUnavailable(f"{name} answered {status}")
    if status != httpx.codes.OK:
        raise SnsRefused(f"{name} answered {status}")
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_BYTES:
            raise SnsRefused(f"{name} has more than {MAX_BYTES} bytes")
    return bytes(content)
