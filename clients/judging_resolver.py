"""Names are resolved where connections are made, so that what was judged is what is connected to."""

import ipaddress
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from clients.addresses import AllowedHosts


class JudgingResolver(AbstractResolver):
    """aiohttp resolver that refuses a name unless all its addresses may be reached.

    aiohttp connects to exactly the addresses returned here. It does not ask for literal addresses: judge those apart.
    `resolver`: who is asked, by default the system. Build it in the event loop.
    """

    def __init__(self, allowed: AllowedHosts, resolver: AbstractResolver | None = None) -> None:
        self._allowed = allowed
        self._resolver = resolver or DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        self._allowed.check(host, [ipaddress.ip_address(each["host"].partition("%")[0]) for each in found])
        return found

    async def close(self) -> None:
        await self._resolver.close()
