"""URLs that must lead nowhere, and good ones just beside them; generated, so that no range or notation is left out.

`ALLOWED` is a name that the operator opened. What names resolve to stands in `NAMES`: there is no DNS in it.
"""

import ipaddress
from collections.abc import Iterator
from urllib.parse import quote

from clients.addresses import Address, Network

ALLOWED = "front.test"
STATUSES = (301, 302, 303, 307, 308)
_PUBLIC = {4: "93.184.216.34", 6: "2606:4700::1111"}

# Written down again from the registries and reliability.md, so that it does not repeat a fault of the code.
FORBIDDEN: tuple[Network, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32"),
        *("::/128", "::1/128", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001::/23"),
        *("2001:db8::/32", "2002::/16", "3fff::/20", "4000::/3", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10"),
        "ff00::/8",
    )
)
_TRAPS = ("127.0.0.1", "10.0.0.1", "100.100.100.200", "169.254.169.254", "172.16.0.1", "192.168.0.1")
_ODD_NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "metadata.google.internal": ["169.254.169.254"],
    "xn--bcher-kva.test": ["127.0.0.1"],
    "127.0.0.1.nip.test": ["127.0.0.1"],
    "0x7f000001.test": ["127.0.0.1"],
    f"{ALLOWED}.evil.test": ["127.0.0.1"],
    f"evil-{ALLOWED}": ["127.0.0.1"],
    f"evil.{ALLOWED}": ["127.0.0.1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "zone.test": ["fe80::1%lo"],
}


def addresses(port: int) -> Iterator[str]:
    """Both ends and the middle of every forbidden network."""
    for network in FORBIDDEN:
        for number in (0, 1, network.num_addresses // 2, network.num_addresses - 1):
            if number < network.num_addresses:
                yield f"http://{_host(network[number])}:{port}/"
        yield f"https://{_host(network[-1])}:{port}/"


def embedded(port: int) -> Iterator[str]:
    """IPv4 within IPv6: mapped, compatible, translated, NAT64, 6to4, Teredo."""
    for trap in _TRAPS:
        high, low = divmod(int(ipaddress.IPv4Address(trap)), 2**16)
        groups, turned = f"{high:x}:{low:x}", f"{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}"
        for host in (
            *(f"::ffff:{trap}", f"::FFFF:{groups}", f"0:0:0:0:0:ffff:{groups}", f"::{trap}", f"::ffff:0:{trap}"),
            *(f"64:ff9b::{trap}", f"64:ff9b:1::{trap}", f"2002:{groups}::1", f"2001:0:4136:e378:8000:63bf:{turned}"),
        ):
            yield f"http://[{host}]:{port}/"


def notations(port: int) -> Iterator[str]:
    """What libc, or a library that folds Unicode before it, reads as an address."""
    for trap in _TRAPS:
        number, (a, b, c, d) = int(ipaddress.IPv4Address(trap)), map(int, trap.split("."))
        for host in (
            *(str(number), hex(number), hex(number).upper(), f"0{number:o}", f"000{number:o}", f"{number}."),
            *(f"{a}.{number % 2**24}", f"{a}.{b}.{number % 2**16}", f"{a:#x}.{b}.{c}.{d}", f"0{a:o}.{b}.{c}.{d}"),
            *(f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:#x}.{number % 2**24}"),
            *(f"{trap}.", f"{trap}..", trap.replace(".", "。"), trap.replace(".", "．"), trap.replace(".", "%2e")),
            *(_digits(trap, 0xFF10), _digits(trap, 0x1D7CE), _circled(trap), _circled(trap).replace(".", "｡")),
            f"%3{str(a)[0]}{trap[1:]}",
        ):
            yield f"http://{host}:{port}/"


def names(port: int) -> Iterator[str]:
    """Nothing to see in them: what they resolve to tells."""
    for name in _HOSTILE_NAMES:
        yield f"http://{name}:{port}/"
    for name in (
        "LocalHost",
        "localhost.",
        "bücher.test",
        "ⓛocalhost",
        "nowhere.test",
        "127.0.0.1%00",
        "a%40127.0.0.1",
    ):
        yield f"http://{name}:{port}/"


def malformed(port: int) -> Iterator[str]:
    """User names, zones, spaces, and what only some parsers take for a URL."""
    trap = f"127.0.0.1:{port}"
    yield from (f"http://{user}@{trap}/" for user in (ALLOWED, f"{ALLOWED}:80", "a:b", "", ":", "a@b", f"{ALLOWED}\\"))
    yield from (f"http://[{host}]:{port}/" for host in ("::1%25lo", "::1%lo", "fe80::1%25lo", "127.0.0.1"))
    yield from (f"http://127.0.0.1{gap}:{port}/" for gap in (" ", "\t", "\r\n", "\u200b", "\u00ad", "\\", "%20"))
    yield from (f"http:{trap}/", f"http:///{trap}/", f"//{trap}/", f"http:\\\\{trap}/", trap, f" http://{trap}/", "")
    yield from (f"http://{trap}:80/", "http://127.0.0.1:99999/", f"http://[::1:{port}/", f"http://{trap}\\@{ALLOWED}/")


def schemes(port: int) -> Iterator[str]:
    for scheme in (
        *("ftp", "ftps", "sftp", "tftp", "gopher", "dict", "ldap", "ldaps", "ws", "wss", "unix", "http+unix"),
        *("telnet", "ssh", "redis", "smb", "rtsp", "netdoc", "jar:http", "view-source:http"),
    ):
        yield f"{scheme}://{ALLOWED}:{port}/"
    yield from ("file:///etc/passwd", "data:image/png;base64,AAAA", "javascript:alert(1)")


def redirects(port: int, front: int) -> Iterator[str]:
    """From the allowed host, on port `front`, to traps on `port`."""
    for location in (
        *(f"http://{host}:{port}/" for host in ("127.0.0.1", "[::1]", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]")),
        *(f"http://{host}:{port}/" for host in ("localhost", "only-3.test", "second-0.test", f"a@{ALLOWED}")),
        *(
            f"//127.0.0.1:{port}/",
            f"https://169.254.169.254:{port}/",
            f"http:\\\\127.0.0.1:{port}/",
            "file:///etc/passwd",
        ),
        *(f"ftp://{ALLOWED}:{port}/", f"ws://{ALLOWED}:{port}/", f"/307/{quote(f'http://127.0.0.1:{port}/', safe='')}"),
    ):
        yield from (redirect(status, location, front) for status in STATUSES)


def redirect(status: int, location: str, front: int) -> str:
    return f"http://{ALLOWED}:{front}/{status}/{quote(location, safe='')}"


def public() -> dict[str, str]:
    """URLs and the public address each leads to: the neighbours of every forbidden network, spelled and by name."""
    spelled = [_PUBLIC[4], _PUBLIC[6], "8.8.8.8", "2a00:1450:4001::200e", "::ffff:808:808", *map(str, _neighbours())]
    urls = {f"https://{_host(ipaddress.ip_address(address))}/a.jpg": address for address in spelled}
    return urls | {f"http://{name}/": address for name, address in _PUBLIC_NAMES.items()}


def _neighbours() -> Iterator[Address]:
    for network in FORBIDDEN:
        for number in (int(network[0]) - 1, int(network[-1]) + 1):
            kind = type(network[0])
            if not 0 < number < 2**network.max_prefixlen:
                continue
            address = kind(number)
            in_use = network.version == 4 or address in ipaddress.ip_network("2000::/3")
            if in_use and not any(address in other for other in FORBIDDEN):
                yield address


def _host(address: Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


def _digits(text: str, zero: int) -> str:
    return "".join(chr(zero + int(letter)) if letter.isdigit() else letter for letter in text)


def _circled(text: str) -> str:
    return text.translate({ord(digit): circled for digit, circled in zip("0123456789", "⓪①②③④⑤⑥⑦⑧⑨", strict=True)})


def _names() -> Iterator[tuple[str, list[str]]]:
    for number, network in enumerate(FORBIDDEN):
        trap = str(network[-1])
        yield f"only-{number}.test", [trap]
        yield f"first-{number}.test", [trap, _PUBLIC[network.version]]
        yield f"second-{number}.test", [_PUBLIC[10 - network.version], trap]


_HOSTILE_NAMES = dict(_names()) | _ODD_NAMES
_PUBLIC_NAMES = {f"public-{number}.test": str(address) for number, address in enumerate(_neighbours())}
NAMES = (
    _HOSTILE_NAMES
    | {name: [address] for name, address in _PUBLIC_NAMES.items()}
    | {ALLOWED: ["127.0.0.1"], "opened.test": ["127.0.0.1"]}
)
