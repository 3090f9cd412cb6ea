"""No URL of a user leads to an address that is not public: traps listen on loopback, and nobody knocks.

Nothing leaves loopback either: sockets to anywhere else are noted and not opened.
"""

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import aiohttp
import httpx
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from clients.http import new_http_client
from clients.remote_images import ImageError, fetch_image
from clients.webhooks import deliver
from tests import ssrf_urls
from tests.ssrf_urls import ALLOWED, NAMES, STATUSES, redirect

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
PUBLIC = "93.184.216.34"
HERE = ("127.0.0.1", "127.0.0.2", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1")  # where traps are reached
REACHED = "reached"

Way = Callable[[httpx.AsyncClient, str], Awaitable[str]]


async def told(http: httpx.AsyncClient, url: str) -> str:
    now = datetime.now(UTC)
    event: dict[str, Any] = {"event_type": "job.succeeded", "timestamp": now, "sent_at": now, "data": {}}
    answer = await deliver(http, url, secrets=[SECRET], message_id="msg_1", **event)
    return answer.error or REACHED


async def fetched(http: httpx.AsyncClient, url: str) -> str:
    try:
        await fetch_image(http, url, max_bytes=99)
    except ImageError as error:
        return error.code
    return REACHED


both_ways = pytest.mark.parametrize("way", [told, fetched])


class Names(AbstractResolver):
    """Answers by a table; what is not in it is read as libc reads addresses, without DNS."""

    def __init__(self, table: Mapping[str, Sequence[str]]) -> None:
        self._table = {name: list(addresses) for name, addresses in table.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        known = self._table.get(host.rstrip("."))
        if known is None:
            known = [str(each[4][0]) for each in socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)]
        return [_answer(host, address, port) for address in known]

    async def close(self) -> None:
        pass


class Rebinding(Names):
    """A name that it does not know is public at the first question, and this machine ever after."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host in self._table:
            return await super().resolve(host, port, family)
        self.asked.append(host)
        return [_answer(host, PUBLIC if len(self.asked) == 1 else "127.0.0.1", port)]


def _answer(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)


@dataclass
class Machine:
    """One with traps on `port`, and on `front` the server that the operator allowed."""

    port: int = 0
    front: int = 0
    trapped: int = 0
    knocked: list[tuple[str, int]] = field(default_factory=list)  # wherever a socket was asked for

    def socket(self, asked: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, proto, _, address = asked
        self.knocked.append((str(address[0]), int(address[1])))
        if str(address[0]) not in HERE:
            raise OSError(errno.ENETUNREACH, "not of this machine")
        return socket.socket(family, kind, proto)

    def client(self, allowed_hosts: Sequence[str] | None, resolver: AbstractResolver) -> httpx.AsyncClient:
        return new_http_client(connections=4, allowed_hosts=allowed_hosts, resolver=resolver, new_socket=self.socket)

    async def trap(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.trapped += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret")
        writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """`/302/LOCATION` redirects there, anything else is an image."""
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        _, status, *location = path.split("/", 2)
        answer = f"{status} Found\r\nLocation: {unquote(location[0])}" if location else "200 OK"
        writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 4\r\nConnection: close\r\n\r\njpeg".encode())
        writer.close()


@asynccontextmanager
async def machine() -> AsyncIterator[Machine]:
    one = Machine()
    first = await asyncio.start_server(one.trap, "127.0.0.1", 0)
    one.port = first.sockets[0].getsockname()[1]
    front = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.front = front.sockets[0].getsockname()[1]
    servers = [first, front]
    for host, port, serve in (("::1", one.port, one.trap), ("127.0.0.2", one.port, one.trap)):
        with suppress(OSError):  # not every machine has them
            servers.append(await asyncio.start_server(serve, host, port))
    yield one
    for server in servers:
        server.close()


def hostile(on: Machine) -> list[str]:
    kinds = (ssrf_urls.addresses, ssrf_urls.embedded, ssrf_urls.notations, ssrf_urls.names, ssrf_urls.malformed)
    urls = [url for kind in (*kinds, ssrf_urls.schemes) for url in kind(on.port)]
    return list(dict.fromkeys([*urls, *ssrf_urls.redirects(on.port, on.front)]))


def on_a_machine(test: Callable[[Machine], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with machine() as one:
            await test(one)

    asyncio.run(run())


@both_ways
def test_no_hostile_url_reaches_anything(way: Way) -> None:
    async def test(on: Machine) -> None:
        urls = hostile(on)
        assert len(urls) >= 500
        async with on.client([ALLOWED], Names(NAMES)) as http:
            ends = Counter([await way(http, url) for url in urls])
        assert set(on.knocked) == {("127.0.0.1", on.front)}
        assert (on.trapped, ends[REACHED]) == (0, 0)
        assert ends["address_refused"] + ends["input_address_refused"] > 400

    on_a_machine(test)


def test_without_the_judge_most_of_them_would() -> None:
    async def test(on: Machine) -> None:
        async with on.client(None, Names(NAMES)) as http:
            ends = Counter([await fetched(http, url) for url in hostile(on)])
        assert len({address for address, port in on.knocked if port == on.port}) > 100
        assert on.trapped > ends[REACHED] > 50

    on_a_machine(test)


@both_ways
def test_a_name_is_asked_for_once_and_judged_each_time(way: Way) -> None:
    async def test(on: Machine) -> None:
        url, rebinding = f"http://rebinding.test:{on.port}/", Rebinding({})
        for questions in (1, 2, 3):
            async with on.client([], rebinding) as http:
                assert await way(http, url) != REACHED
            assert len(rebinding.asked) == questions
        assert on.knocked == [(PUBLIC, on.port)]
        assert on.trapped == 0

    on_a_machine(test)


@both_ways
def test_a_redirect_that_rebinds_is_refused(way: Way) -> None:
    async def test(on: Machine) -> None:
        for status in STATUSES:
            rebinding = Rebinding({ALLOWED: ["127.0.0.1"]})
            url = redirect(status, f"http://rebinding.test:{on.port}/", on.front)
            for _ in range(2):
                async with on.client([ALLOWED], rebinding) as http:
                    assert await way(http, url) != REACHED
        assert set(on.knocked) <= {("127.0.0.1", on.front), (PUBLIC, on.port)}
        assert on.trapped == 0

    on_a_machine(test)


@both_ways
def test_fifty_good_ones_pass(way: Way) -> None:
    async def test(on: Machine) -> None:
        here = [
            f"http://{host}:{on.front}/{number}"
            for number in range(5)
            for host in (ALLOWED, "127.0.0.1", "opened.test")
        ]
        public = ssrf_urls.public()
        assert len(set(here)) + len(public) >= 50
        async with on.client([ALLOWED, "127.0.0.0/8"], Names(NAMES)) as http:
            assert {await way(http, url) for url in here} == {REACHED}
            on.knocked.clear()
            ends = {await way(http, url) for url in public}
        assert [address for address, _ in on.knocked] == list(public.values())
        assert ends <= {"connect_failed", "input_unavailable"}

    on_a_machine(test)


@pytest.mark.parametrize("status", STATUSES)
def test_three_redirects_among_allowed_hosts_are_followed(status: int) -> None:
    async def test(on: Machine) -> None:
        url = f"http://{ALLOWED}:{on.front}/a.jpg"
        for _ in range(3):
            url = redirect(status, url, on.front)
        async with on.client([ALLOWED], Names(NAMES)) as http:
            assert await fetched(http, url) == REACHED
            assert await fetched(http, redirect(status, url, on.front)) == "input_redirected"
            assert await told(http, url) == "redirected"

    on_a_machine(test)
