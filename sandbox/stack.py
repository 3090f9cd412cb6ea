"""The embedded stack: Postgres, Valkey and S3 on loopback, and whatever else is to run beside them.

    with Stack(Path(".photabatch")) as stack:
        stack.spawn("worker-1", [sys.executable, "-m", "worker"])

Everything it starts ends with it: on leaving the block in good order, and through the reaper when it is killed.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.errors import AlreadyRunning, StackError
from sandbox.guard import Guard
from sandbox.home import Home, read_running
from sandbox.ports import Ports
from sandbox.postgres import Postgres
from sandbox.process import BACKOFF_LIMIT_SECONDS, Child, Command
from sandbox.seaweed import Seaweed
from sandbox.service import Service
from sandbox.supervisor import Supervisor
from sandbox.valkey import Valkey

__all__ = ["AlreadyRunning", "Child", "Stack", "StackError", "read_running"]

RETRY_SECONDS = 10.0
"""So long a port or a shared memory block may still be in use by what was just killed."""
_IN_USE = ("in use", "is not available")


class Stack:
    """A context manager; leave out the services that an address of the user's own replaces.

    `durable=False` gives up surviving a crash of the machine (no fsync, no append-only file) for speed in tests.
    `longest_delay_seconds`: between two starts of a child that keeps ending. `service_environment`: for the three
    services, which see nothing else of the caller's.
    """

    def __init__(
        self,
        home: Path,
        *,
        postgres: bool = True,
        valkey: bool = True,
        s3: bool = True,
        bucket: str = "photabatch",
        durable: bool = True,
        longest_delay_seconds: float = BACKOFF_LIMIT_SECONDS,
        service_environment: Mapping[str, str] | None = None,
    ) -> None:
        self._home = Home(home)
        self._wanted = {"postgres": postgres, "valkey": valkey, "s3": s3}
        self._bucket = bucket
        self._durable = durable
        self._longest_delay_seconds = longest_delay_seconds
        self._service_environment = dict(service_environment or {})
        self._services: list[Service] = []

    def __enter__(self) -> Self:
        """Raise AlreadyRunning or StackError."""
        try:
            self._open()
        except OSError as error:
            raise StackError(
                f"The stack cannot start: {error}. Give yourself access to the data folder {self.home} and room on its "
                "disk, or set PHOTABATCH_HOME to another folder."
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() == self._owner:  # a fork that falls out of the block must not stop its parent's children
            self._stop()

    @property
    def home(self) -> Path:
        """The data folder, absolute."""
        return self._home.path

    def environment(self) -> dict[str, str]:
        """Variables under which children find the services that run here."""
        return {name: value for service in self._services for name, value in service.environment().items()}

    def port(self, name: str, *, preferred: int, is_remembered: bool = True) -> int:
        """A free port of 127.0.0.1 for a child: that of last time, if remembered, or the preferred one, if possible."""
        return self._ports.take(name, preferred=preferred, is_remembered=is_remembered)

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        restart: bool = True,
        ready: Callable[[], bool] | None = None,
        timeout_seconds: float = 30.0,
    ) -> Child:
        """Run a program beside the services, with `environment()` and `env` over our own environment.

        Returns once `ready` says so, at once without. Raise StackError if it ends, or the time passes, before that.
        """
        everything = {**os.environ, **self.environment(), **(env or {})}
        command = Command(argv=tuple(argv), env=everything, cwd=cwd)
        return self._supervisor.start(name, command, restart=restart, ready=ready, timeout_seconds=timeout_seconds)

    def announce(self, environment: Mapping[str, str]) -> None:
        """Let `read_running` tell of these variables too, over those of `environment()`."""
        self._home.publish({**self.environment(), **environment})

    def child(self, name: str) -> Child:
        """`postgres`, `valkey`, `s3`, or what was spawned. Raise KeyError for any other."""
        return self._supervisor.child(name)

    def stop_children(self, *names: str) -> None:
        """Ask them to stop, kill what is left after ten seconds, and do not start them again."""
        self._supervisor.stop(names)

    def _open(self) -> None:
        self._home.create()
        self._guard = Guard(self._home.lock(), stack_file=self._home.stack_file)
        self._supervisor = Supervisor(
            self._guard, logs=self._home.logs, longest_delay_seconds=self._longest_delay_seconds
        )
        self._ports = Ports(self._home)
        self._owner = os.getpid()
        try:
            self._home.publish({})
            self._services = self._build()
            self._start_services()
            self._home.publish(self.environment())
        except BaseException:
            self._stop()
            raise

    def _build(self) -> list[Service]:
        home, ports = self._home, self._ports
        makers: dict[str, Callable[[], Service]] = {
            "postgres": lambda: Postgres(home, ports, durable=self._durable),
            "valkey": lambda: Valkey(home, ports, durable=self._durable),
            "s3": lambda: Seaweed(home, ports, bucket=self._bucket),
        }
        return [make() for name, make in makers.items() if self._wanted[name]]

    def _start_services(self) -> None:
        with ThreadPoolExecutor(len(self._services) or 1) as pool:
            started = [pool.submit(self._start, service) for service in self._services]
            try:
                for future in started:
                    future.result()
            except BaseException:
                self._supervisor.end()  # lets the others give up at once
                raise

    def _start(self, service: Service) -> None:
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                command = service.command()
                command = replace(command, env={**command.env, **self._service_environment})
                self._supervisor.start(service.name, command, ready=service.is_ready)
                return
            except StackError as error:
                if not any(words in str(error) for words in _IN_USE) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _stop(self) -> None:
        """First what uses the services, then they."""
        self._home.stack_file.unlink(missing_ok=True)
        self._supervisor.end()
        services = {service.name for service in self._services}
        self._supervisor.stop([name for name in self._supervisor.names if name not in services])
        self._supervisor.stop(services)
        self._ports.close()
        self._guard.close()
