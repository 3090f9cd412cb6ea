"""Input pictures: by URL or as base64, JPEG, PNG, WebP or HEIC."""

import base64
import binascii

import httpx

from sandbox.phota.errors import PhotaError
from sandbox.phota.requests import is_url

_MOST_BYTES = 32 * 1024 * 1024
_MAGIC_AT = {
    0: (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"),
    8: (b"WEBP", b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"),
}


def invalid_image(why: str) -> PhotaError:
    return PhotaError(400, "INVALID_IMAGE", why)


def check(source: str) -> None:
    """A first look that costs next to nothing; raise PhotaError INVALID_IMAGE for base64 that cannot be a picture."""
    if not is_url(source):
        _check_magic(_decode_base64(source[:64]))


async def load(source: str, client: httpx.AsyncClient) -> bytes:
    """The picture's bytes; raise PhotaError INVALID_IMAGE, or IMAGE_FETCH_FAILED for a URL that gives nothing."""
    data = await _fetch(source, client) if is_url(source) else _decode_base64(source)
    _check_magic(data)
    return data


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise invalid_image("the image is neither a URL nor base64") from error


def _check_magic(data: bytes) -> None:
    if not any(data.startswith(magic, offset) for offset, magics in _MAGIC_AT.items() for magic in magics):
        raise invalid_image("the image is not JPEG, PNG, WebP or HEIC")


async def _fetch(url: str, client: httpx.AsyncClient) -> bytes:
    data = bytearray()
    try:
        async with client.stream("GET", url, follow_redirects=True) as response:
            response.raise_for_status()
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > _MOST_BYTES:
                    raise invalid_image(f"the image is larger than {_MOST_BYTES} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PhotaError(400, "IMAGE_FETCH_FAILED", "the image could not be fetched from its URL") from error
    return bytes(data)
