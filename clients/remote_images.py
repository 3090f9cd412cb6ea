"""Images behind the URLs that users give, fetched by us where Phota's own servers cannot.

ImageError                    is_retryable, code
├── ImageUnavailable          retryable: no connection, too slow, broke off, 408, 425, 429, 5xx
├── ImageRefused              leads to an address that is neither public nor allowed, or is no URL to follow
├── ImageRedirected           too often, or to nowhere
├── ImageMissing              any other answer than 200: 401, 403, 404, 410 …
├── ImageTooLarge             more bytes than the caller takes
└── ImageEmpty                200, and no bytes
"""

# ruff: noqa: N818 - the names say what happened, the tree that they are errors

import asyncio
from typing import ClassVar

import aiohttp
import httpx

from clients.http import NETWORK_ERRORS, failure_of, is_refusal
from clients.phota_errors import redact

FETCH_SECONDS = 60.0  # for all hops together: a body that trickles restarts the timeout of each read
MAX_REDIRECTS = 3
_LATER = (408, 425, 429)
_NO_URL = (httpx.InvalidURL, httpx.UnsupportedProtocol, aiohttp.InvalidURL, UnicodeError)


class ImageError(Exception):
    """`code` is stable, and the job's where it ends with it; only ImageUnavailable is worth another try."""

    code: ClassVar[str] = "input_error"
    is_retryable: ClassVar[bool] = False


class ImageUnavailable(ImageError):
    code = "input_unavailable"
    is_retryable = True


class ImageRefused(ImageError):
    code = "input_address_refused"


class ImageRedirected(ImageError):
    code = "input_redirected"


class ImageMissing(ImageError):
    code = "input_missing"


class ImageTooLarge(ImageError):
    code = "input_too_large"


class ImageEmpty(ImageError):
    code = "empty_file"


async def fetch_image(http: httpx.AsyncClient, url: str, *, max_bytes: int, within: float = FETCH_SECONDS) -> bytes:
    """The bytes at `url`, 1 to `max_bytes` of them, whatever they are. Raise ImageError; it quotes no query.

    `http` is a client with `allowed_hosts`: it judges every hop when it connects. `within`: seconds for all of it.
    """
    name = redact(url)
    try:
        async with asyncio.timeout(within):
            return await _follow(http, url, name, max_bytes)
    except (*NETWORK_ERRORS, UnicodeError) as error:
        if isinstance(error, httpx.RemoteProtocolError):  # only of httpx's own, about a Location
            raise ImageRedirected(f"{name} is redirected to nowhere") from error
        if is_refusal(error) or isinstance(error, _NO_URL):
            raise ImageRefused(f"{name} leads to an address that may not be reached") from error
        cause = type(error.__cause__ or error).__name__  # its text tells addresses of the network behind us
        raise ImageUnavailable(f"{name}: {failure_of(error).replace('_', ' ')} ({cause})") from error


async def _follow(http: httpx.AsyncClient, url: str, name: str, max_bytes: int) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        async with http.stream("GET", url, headers={"Accept-Encoding": "identity"}, follow_redirects=False) as response:
            if response.next_request is None:
                return await _image(response, name, max_bytes)
            url = str(response.next_request.url)
    raise ImageRedirected(f"{name} is redirected more than {MAX_REDIRECTS} times")


async def _image(response: httpx.Response, name: str, max_bytes: int) -> bytes:
    status = response.status_code
    if response.is_redirect:
        raise ImageRedirected(f"{name} is redirected to nowhere")
    if status in _LATER or status >= 500:
        raise ImageUnavailable(f"{name} answered {status}")
    if status != httpx.codes.OK:
        raise ImageMissing(f"{name} answered {status}")
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > max_bytes:
            raise ImageTooLarge(f"{name} has more than {max_bytes} bytes")
    if not content:
        raise ImageEmpty(f"{name} has no bytes")
    return bytes(content)
