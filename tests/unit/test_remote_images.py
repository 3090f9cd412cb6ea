"""Images that we fetch ourselves: every way it can end has its error."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from clients import remote_images
from clients.http import new_http_client
from clients.remote_images import (
    MAX_REDIRECTS,
    ImageEmpty,
    ImageError,
    ImageMissing,
    ImageRedirected,
    ImageRefused,
    ImageTooLarge,
    ImageUnavailable,
    fetch_image,
)

URL = "http://minio.internal/a.jpg?X-Amz-Signature=5ec4e7"


def fetch(answer: httpx.Response | Callable[[httpx.Request], httpx.Response], *, within: float = 5.0) -> bytes:
    transport = httpx.MockTransport(answer if callable(answer) else lambda _: answer)
    return asyncio.run(fetch_image(httpx.AsyncClient(transport=transport), URL, max_bytes=100, within=within))


def error_of(answer: httpx.Response | Callable[[httpx.Request], httpx.Response]) -> ImageError:
    with pytest.raises(ImageError) as caught:
        fetch(answer)
    return caught.value


def hops(times: int) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        hop = int(request.url.path.strip("/a.jpg") or 0)
        return (
            httpx.Response(302, headers={"Location": f"/{hop + 1}"}) if hop < times else httpx.Response(200, text="x")
        )

    return answer


def test_bytes_come_as_they_are() -> None:
    assert fetch(httpx.Response(200, content=b"j" * 100)) == b"j" * 100


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, content=b"j" * 101), ImageTooLarge),
        (httpx.Response(200), ImageEmpty),
        (httpx.Response(204), ImageMissing),
        (httpx.Response(403), ImageMissing),
        (httpx.Response(404), ImageMissing),
        (httpx.Response(410), ImageMissing),
        (httpx.Response(304), ImageRedirected),
        (httpx.Response(429), ImageUnavailable),
        (httpx.Response(500), ImageUnavailable),
        (httpx.Response(503), ImageUnavailable),
        (httpx.Response(302), ImageRedirected),
        (httpx.Response(302, headers={"Location": "http://[::1"}), ImageRedirected),
    ],
    ids=lambda value: getattr(value, "status_code", None) and str(value.status_code),
)
def test_an_answer_that_is_no_image(answer: httpx.Response, error: type[ImageError]) -> None:
    caught = error_of(answer)
    assert (type(caught), caught.is_retryable) == (error, error is ImageUnavailable)
    assert "5ec4e7" not in str(caught)


def test_three_redirects_are_followed_and_no_more() -> None:
    assert fetch(hops(MAX_REDIRECTS)) == b"x"
    assert type(error_of(hops(MAX_REDIRECTS + 1))) is ImageRedirected


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ReadTimeout, httpx.ReadError, ConnectionResetError])
def test_a_host_that_is_away_may_come_back(failure: type[Exception]) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise failure("10.1.2.3 does not answer")

    caught = error_of(answer)
    assert type(caught) is ImageUnavailable
    assert "10.1.2.3" not in str(caught)


def test_a_body_that_trickles_has_an_end() -> None:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b""
            await asyncio.sleep(0.01)

    with pytest.raises(ImageUnavailable, match="timeout"):
        fetch(lambda _: httpx.Response(200, content=body()), within=0.1)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://a@example.com/", "ftp://example.com/", "http://", "", "http://\ud800/", "x"]
)
def test_what_may_not_be_reached_is_refused_for_good(url: str) -> None:
    async def run() -> None:
        async with new_http_client(connections=1, allowed_hosts=[]) as http:
            await fetch_image(http, url, max_bytes=9)

    with pytest.raises(ImageRefused):
        asyncio.run(run())


def test_codes_are_distinct() -> None:
    errors = [each for each in vars(remote_images).values() if isinstance(each, type) and issubclass(each, ImageError)]
    assert len({each.code for each in errors}) == len(errors) == 7
