"""Ports on loopback, remembered from one start to the next."""

import contextlib
import json
import random
import socket
import threading

from sandbox.home import Home, read_json, write_private

FALLBACK = range(10_000, 22_000)
"""With weed's second port 10,000 above, still below the range that Linux gives to outgoing connections (32,768)."""


class Ports:
    """Hands out each port once on this machine, to other stacks too, until closed. Thread-safe."""

    def __init__(self, home: Home) -> None:
        self._file = home.ports_file
        self._remembered: dict[str, int] = read_json(self._file) or {}
        self._claims: dict[str, contextlib.ExitStack] = {}
        self._mutex = threading.Lock()

    def take(self, name: str, *, preferred: int, twin: int = 0, is_remembered: bool = True) -> int:
        """The port of last time, else the preferred one, else a free one; the port `twin` above is free as well.

        One that people know by heart is not remembered: the preferred one is tried anew each time.
        """
        with self._mutex:
            self._release(name)
            others = {port for other, port in self._remembered.items() if other != name}
            known = self._remembered.get(name, preferred) if is_remembered else preferred
            candidates = [known, preferred, *random.sample(FALLBACK, 200)]
            for port in candidates:
                if port not in others and self._claim(name, *([port, port + twin] if twin else [port])):
                    if is_remembered:
                        self._remember(name, port)
                    return port
        raise OSError("no free port on 127.0.0.1")

    def close(self) -> None:
        with self._mutex:
            for name in list(self._claims):
                self._release(name)

    def _claim(self, name: str, *ports: int) -> bool:
        with contextlib.ExitStack() as claims:
            if all(_is_free(port) and _claimed(port, claims) for port in ports):
                self._claims[name] = claims.pop_all()
        return name in self._claims

    def _release(self, name: str) -> None:
        if name in self._claims:
            self._claims.pop(name).close()

    def _remember(self, name: str, port: int) -> None:
        if self._remembered.get(name) != port:
            self._remembered[name] = port
            write_private(self._file, json.dumps(self._remembered, indent=2))


def _is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _bound(probe, port)


def _claimed(port: int, claims: contextlib.ExitStack) -> bool:
    """Hold the UDP port of the same number: exclusive, gone with the process, and in nobody's way."""
    return _bound(claims.enter_context(socket.socket(type=socket.SOCK_DGRAM)), port)


def _bound(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
