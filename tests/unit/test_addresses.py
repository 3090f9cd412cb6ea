"""What a URL spells is judged before anything is queued; what a name resolves to is not asked for then."""

from collections.abc import Callable, Iterator

import pytest

from clients import phota_requests
from clients.addresses import spelled_address, url_fault
from clients.phota_problems import InvalidRequest
from producer.jobs import check
from tests import ssrf_urls

THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


def webhook_problems(url: str, allowed_hosts: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    job = {"operation": "generate", "params": {"prompt": "a cat"}, "webhook_url": url}
    try:
        check(job, allowed_hosts=allowed_hosts)
    except InvalidRequest as error:
        return [(problem.param, problem.code) for problem in error.problems]
    return []


def image_problems(url: str, allowed_hosts: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    try:
        phota_requests.validate("enhance", {"image": url}, allowed_hosts=allowed_hosts)
    except InvalidRequest as error:
        return [(problem.param, problem.code) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "kind",
    [ssrf_urls.addresses, ssrf_urls.embedded, ssrf_urls.notations, ssrf_urls.malformed, ssrf_urls.schemes],
    ids=lambda kind: kind.__name__,
)
def test_what_spells_a_private_address_is_refused_at_once(kind: Callable[[int], Iterator[str]]) -> None:
    for url in kind(8000):
        assert webhook_problems(url) == [("webhook_url", "bad_url")], url
        assert image_problems(url.replace("http://", "https://", 1)) == [("image", "bad_url")], url


def test_names_are_judged_when_connecting() -> None:
    for name in ("localhost", "minio.internal", "bücher.example", "127.0.0.1.nip.example", "0x7f.example"):
        assert webhook_problems(f"http://{name}:8000/") == []
        assert image_problems(f"https://{name}/a.jpg") == []


def test_public_addresses_are_taken() -> None:
    for url in ssrf_urls.public():
        assert webhook_problems(url) == [], url
        assert image_problems(url.replace("http://", "https://", 1)) == [], url


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "127.1", "[::ffff:127.0.0.1]"])
def test_what_the_operator_opened_is_taken(host: str) -> None:
    assert webhook_problems(f"http://{host}:8000/hook", THIS_MACHINE) == []
    assert image_problems(f"http://{host}:8000/a.jpg", THIS_MACHINE) == []


def test_the_refusal_says_what_was_read_and_who_can_help() -> None:
    assert url_fault("http://0x7f.1/") == (
        "leads to 127.0.0.1, which is not a public address; PHOTABATCH_ALLOWED_HOSTS can open it"
    )
    assert url_fault("http://a:b@example.com/") == "must not contain a user name or password"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("134744072", "8.8.8.8"),
        ("①②⑦.1", "127.0.0.1"),
        ("127.0.0.1\u00ad", "127.0.0.1"),
        ("%31%32%37.1", "127.0.0.1"),
        ("[fe80::1%25eth0]", "fe80::1"),
        ("example.com", None),
        ("1.2.3.4.5", None),
        ("256.1.1.1", None),
        ("a" * 300, None),
        ("..", None),
        ("", None),
    ],
)
def test_addresses_are_read_as_libc_reads_them(host: str, address: str | None) -> None:
    found = spelled_address(host)
    assert (None if found is None else str(found)) == address
