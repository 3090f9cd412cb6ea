"""Where the certificates of Amazon SNS come from, and what else is fetched of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from clients.sns import (
    ForgedMessage,
    NotSns,
    SnsError,
    SnsRefused,
    SnsUnavailable,
    UntrustedUrl,
    fetch_from_amazon,
    is_aws_url,
)
from clients.sns_certificates import MAX_BYTES, MOST_CERTIFICATES, fetch_small
from tests.unit.sns_fake import (
    CERTIFICATE,
    CONFIRM,
    HOST,
    HOSTILE,
    NOW,
    YEAR,
    Amazon,
    certificate,
    elliptic,
    notification,
    signed,
)


@pytest.mark.parametrize("url", HOSTILE)
def test_only_amazons_own_host_is_asked(url: str) -> None:
    assert not is_aws_url(url)
    amazon = Amazon(pages={url: certificate()})
    with pytest.raises((UntrustedUrl, NotSns)):
        amazon.reader().read(signed(notification(SigningCertURL=url)))
    assert amazon.asked == []


@pytest.mark.parametrize("region", ["us-east-1", "ap-southeast-12", "us-gov-west-1", "cn-north-1", "us-iso-east-1"])
def test_every_region_is_amazons(region: str) -> None:
    suffix = ".cn" if region.startswith("cn") else ""
    url = f"https://sns.{region}.amazonaws.com{suffix}/SimpleNotificationService-0.pem"
    assert Amazon(pages={url: certificate()}).reader().read(signed(notification(SigningCertURL=url))).message


@pytest.mark.parametrize(
    "path", ["/", "/x.crt", "/x.pem?Action=GetTopicAttributes", "/x.pem#", "/a/x.pem", "/../x.pem", "/%2e.pem", "/.pem"]
)
def test_a_certificate_is_a_file_and_not_an_answer(path: str) -> None:
    amazon = Amazon(pages={HOST + path: certificate()})
    with pytest.raises(UntrustedUrl):
        amazon.reader().read(signed(notification(SigningCertURL=HOST + path)))
    assert amazon.asked == []


@pytest.mark.parametrize(
    "page",
    [
        certificate(until=NOW - timedelta(seconds=1)),
        certificate(since=NOW + timedelta(seconds=1)),
        elliptic(),
        b"<Policy>" + certificate() + b"</Policy>",
        b"",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
    ids=["expired", "not valid yet", "elliptic", "in the midst of text", "empty", "damaged"],
)
def test_a_certificate_must_be_valid(page: bytes) -> None:
    amazon = Amazon(pages={CERTIFICATE: page})
    for _ in range(2):
        with pytest.raises(ForgedMessage, match="certificate"):
            amazon.reader().read(signed(notification()))


def test_a_certificate_is_fetched_once_and_watched_until_it_expires() -> None:
    amazon = Amazon()
    reader = amazon.reader()
    for _ in range(3):
        reader.read(signed(notification()))
    assert amazon.asked == [CERTIFICATE]
    amazon.now = NOW + 2 * YEAR
    with pytest.raises(ForgedMessage, match="expired"):
        reader.read(signed(notification(Timestamp=amazon.now.isoformat())))


def test_certificates_are_kept_but_not_without_end() -> None:
    """The one that was longest not used goes first."""
    urls = [f"{HOST}/SimpleNotificationService-{number}.pem" for number in range(MOST_CERTIFICATES + 1)]
    amazon = Amazon(pages=dict.fromkeys(urls, certificate()))
    reader = amazon.reader()
    for url in [*urls[:-1], urls[0], urls[-1], urls[0], urls[1]]:
        reader.read(signed(notification(SigningCertURL=url)))
    assert amazon.asked == [*urls, urls[1]]


def test_certificates_that_are_none_push_out_no_other() -> None:
    amazon = Amazon()
    reader = amazon.reader()
    reader.read(signed(notification()))
    for number in range(2 * MOST_CERTIFICATES):
        with pytest.raises(SnsRefused):
            reader.read(signed(notification(SigningCertURL=f"{HOST}/{number}.pem")))
    reader.read(signed(notification()))
    assert amazon.asked.count(CERTIFICATE) == 1


def fetched(answer: httpx.Response, *, within: float = 5.0) -> bytes:
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer))
    return asyncio.run(fetch_small(http, CONFIRM, within=within))


def test_a_page_is_fetched() -> None:
    assert fetched(httpx.Response(200, content=b"x" * MAX_BYTES)) == b"x" * MAX_BYTES


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(302, headers={"Location": "https://evil.example/"}), SnsRefused),
        (httpx.Response(200, content=b"x" * (MAX_BYTES + 1)), SnsRefused),
        (httpx.Response(403), SnsRefused),
        (httpx.Response(404), SnsRefused),
        (httpx.Response(429), SnsUnavailable),
        (httpx.Response(503), SnsUnavailable),
    ],
    ids=lambda value: str(getattr(value, "status_code", "")),
)
def test_what_is_no_answer_has_its_error(answer: httpx.Response, error: type[SnsError]) -> None:
    with pytest.raises(error) as caught:
        fetched(answer)
    assert "2336412f" not in str(caught.value)


def test_an_answer_that_trickles_has_an_end() -> None:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b""
            await asyncio.sleep(0.01)

    with pytest.raises(SnsUnavailable, match="timeout"):
        fetched(httpx.Response(200, content=body()), within=0.1)


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/", "https://10.0.0.1/x.pem", "https://[::1]/", "https://localhost/"]
)
def test_an_address_that_is_not_public_is_refused(url: str) -> None:
    with pytest.raises(UntrustedUrl):
        fetch_from_amazon(url)


def test_a_private_endpoint_can_be_allowed() -> None:
    with pytest.raises(SnsUnavailable, match="connect failed"):
        fetch_from_amazon("https://127.0.0.1:1/", allowed_hosts=["127.0.0.1"])
