"""Which addresses a URL given by a user may lead to.

Names are judged by what they resolve to, at the moment of connecting. What spells an address itself is judged by what
libc reads in it (`0x7f.1` and `2130706433` are loopback), and so can be refused before anything is queued.
"""

import functools
import ipaddress
import socket
import unicodedata
from collections.abc import Iterable, Sequence
from urllib.parse import unquote, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# `ipaddress.is_global` alone lets these pass: relays, NAT64, 6to4, Teredo, documentation.
_NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's metadata service
        "192.0.0.0/24",
        "192.88.99.0/24",
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/23",
        "fec0::/10",
        "3fff::/20",
        "5f00::/16",
        "100::/64",
    )
)


class AddressRefused(OSError):  # noqa: N818 - a refusal
    """The URL leads to an address that is neither public nor allowed by the operator, or is none to follow at all."""


def url_fault(url: str, *, allowed_hosts: Sequence[str] = ()) -> str | None:
    """Why a URL that a user gives can be refused unseen. None: what a name resolves to is judged when connecting."""
    if not url.isprintable() or " " in url or "\\" in url:  # no other space is printable
        return "contains spaces, backslashes or control characters"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for a port that is not a number
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https"):
        return "must be an http(s):// address"
    if not parts.hostname:
        return "names no host"
    if "@" in parts.netloc:
        return "must not contain a user name or password"
    return _host_fault(parts.hostname, allowed_hosts)


def _host_fault(host: str, allowed_hosts: Sequence[str]) -> str | None:
    address = spelled_address(host)
    if address is None or AllowedHosts(allowed_hosts).permits(host, [address]):
        return None
    return f"leads to {address}, which is not a public address; PHOTABATCH_ALLOWED_HOSTS can open it"


@functools.lru_cache(maxsize=1_024)  # the images of many jobs are on few hosts
def spelled_address(host: str) -> Address | None:
    """The address that `host` spells out, in any notation that libc takes; None for a name. Nothing is resolved."""
    plain = unicodedata.normalize("NFKC", unquote(host.strip("[]"))).replace("\u3002", ".").strip().rstrip(".")
    if ":" in plain:
        plain = plain.partition("%")[0]  # an interface of this machine
    try:
        found = socket.getaddrinfo(plain, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, ValueError):  # a name; or nothing that could be one
        return None
    return ipaddress.ip_address(found[0][4][0])


def is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    special = special or address.is_loopback or address.is_link_local
    return address.is_global and not special and not _is_in(address, _NEVER)


class AllowedHosts:
    """Hosts and networks that an operator opened, from `PHOTABATCH_ALLOWED_HOSTS`.

    Entries are names (`minio.internal`), addresses or networks (`10.0.0.0/8`).
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._names: set[str] = set()
        self._networks: list[Network] = []
        for entry in entries:
            self._add(entry)

    def _add(self, entry: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            self._names.add(entry.lower().rstrip("."))

    def names(self, host: str) -> bool:
        """Whether the operator named `host` itself; nothing is resolved."""
        address = spelled_address(host)
        return host.lower().rstrip(".") in self._names if address is None else _is_in(address, self._networks)

    def permits(self, host: str, addresses: Iterable[Address]) -> bool:
        """Whether every one of `addresses`, which `host` resolved to, may be connected to."""
        return self.names(host) or all(is_public(one) or _is_in(one, self._networks) for one in addresses)

    def check(self, host: str, addresses: Iterable[Address]) -> None:
        if not self.permits(host, addresses):
            raise AddressRefused(f"{host} leads to an address that is not public")


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
