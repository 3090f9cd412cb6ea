"""The one HTTP client of a process: httpx's interface over aiohttp's connections.

httpx's own pool slows down with the connections it holds (0.9 ms of CPU a request here whatever their number,
25.8 ms there with 500). Build the client once, inside the event loop that uses it, and close it there.
"""

import email.utils
import math
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Literal

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver
from httpx_aiohttp import AiohttpTransport
from yarl import URL

from clients.addresses import AddressRefused, AllowedHosts, spelled_address
from clients.judging_resolver import JudgingResolver

TIMEOUTS = httpx.Timeout(connect=5, read=30, write=30, pool=5)  # seconds
# Below the 5 s after which common servers (uvicorn, Node) close an idle connection: a POST on a closing one is lost.
IDLE_SECONDS = 4
# What a call may end in besides an answer. The transport lets some of aiohttp's own errors through.
NETWORK_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError)
_NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.InvalidURL,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    AddressRefused,
)
Failure = Literal["connect_failed", "connection_lost", "timeout"]
NewSocket = Callable[[aiohttp.AddrInfoType], socket.socket]

LONGEST_WAIT_SECONDS = 86_400.0  # a broken Retry-After must not close anything for ever


def new_http_client(
    *,
    connections: int,
    timeouts: httpx.Timeout = TIMEOUTS,
    allowed_hosts: Sequence[str] | None = None,
    resolver: AbstractResolver | None = None,
    new_socket: NewSocket | None = None,
) -> httpx.AsyncClient:
    """A client with at most `connections` open, without cookies, redirects or anything from the environment.

    With `allowed_hosts` (an empty list counts) it connects to public addresses and to those hosts and networks only:
    for URLs that users give. One that leads elsewhere, is not http(s) or has a user name raises
    `clients.addresses.AddressRefused`, or an httpx error caused by it; `is_refusal` tells.
    `resolver` and `new_socket`: in place of the system's, whose answers and connections are judged all the same.
    """
    allowed = None if allowed_hosts is None else AllowedHosts(allowed_hosts)
    transport = _Transport(connections, allowed=allowed, resolver=resolver, new_socket=new_socket)
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(
        transport=transport,
        timeout=timeouts,
        headers={"User-Agent": "photabatch"},
        cookies=no_cookies,
        follow_redirects=False,
        trust_env=False,
    )


def retry_after_seconds(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """`Retry-After` in seconds, from a number or an HTTP date; None without a usable one; a day at most.

    A date is meant by the server's clock, which its `Date` tells; without one `now` counts, by default our own.
    """
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        moment = _moment(value)
        if moment is None:
            return None
        seconds = (moment - (_moment(headers.get("date", "")) or now or datetime.now(UTC))).total_seconds()
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)


def _moment(value: str) -> datetime | None:
    """An HTTP date, aware; None if it is none."""
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, IndexError, TypeError):
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC)


def failure_of(error: BaseException) -> Failure:
    """Why a call ended without an answer; only after `connect_failed` is it certain that nothing was sent.

    Asks for the aiohttp error behind it: the transport calls a connection that was reset `ConnectTimeout` too.
    """
    cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    if isinstance(cause, _NEVER_SENT):
        return "connect_failed"
    return "timeout" if isinstance(cause, TimeoutError | httpx.TimeoutException) else "connection_lost"


def is_refusal(error: BaseException | None) -> bool:
    """Whether a call ended in AddressRefused: the transport wraps what its resolver raises."""
    while error is not None and not isinstance(error, AddressRefused):
        error = error.__cause__ or error.__context__
    return error is not None


class _Session:
    """An aiohttp session that takes URLs as they are: yarl would turn the %2F of a signed query into a slash."""

    def __init__(self, session: aiohttp.ClientSession, allowed: AllowedHosts | None) -> None:
        self._session = session
        self._allowed = allowed

    def __call__(self) -> "_Session":
        return self

    def request(self, *, url: str, **options: Any) -> Any:
        target = URL(url, encoded=True)
        if self._allowed is not None:
            _judge(target, self._allowed)
        return self._session.request(url=target, **options)

    async def close(self) -> None:
        await self._session.close()


def _judge(target: URL, allowed: AllowedHosts) -> None:
    """All but names, which the resolver judges; `target` is the very URL that aiohttp connects by."""
    if target.scheme not in ("http", "https") or target.raw_user is not None or target.raw_password is not None:
        raise AddressRefused("only http(s) URLs without a user name are followed")
    host = target.raw_host or ""
    address = spelled_address(host)
    if address is not None:
        allowed.check(host, [address])


class _Transport(AiohttpTransport):
    def __init__(
        self,
        connections: int,
        *,
        allowed: AllowedHosts | None,
        resolver: AbstractResolver | None,
        new_socket: NewSocket | None,
    ) -> None:
        super().__init__(trust_env=False, limits=httpx.Limits(max_connections=connections))
        self._allowed = allowed
        self._resolver = resolver
        self._new_socket = new_socket

    def get_client(self) -> Any:
        """Called in the event loop, for each request, because the session is wrapped."""
        if self.client is None:
            judging = None if self._allowed is None else JudgingResolver(self._allowed, self._resolver)
            connector = aiohttp.TCPConnector(
                limit=self.limits.max_connections or 0,
                keepalive_timeout=IDLE_SECONDS,
                ssl=self.ssl_context,
                resolver=judging or self._resolver,
                socket_factory=self._new_socket,
            )
            session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
            self.client = _Session(session, self._allowed)  # type: ignore[assignment]
        return self.client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except ValueError as error:  # yarl and idna, about a URL that httpx let pass
            raise httpx.InvalidURL(str(error)) from error

    async def aclose(self) -> None:
        if isinstance(self.client, _Session):
            await self.client.close()
