"""A whole installation under test: every service and process a child of ours, a proxy before each service.

What the processes see goes through the proxies; what the campaign itself looks at does not.
"""

import contextlib
import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import psutil
import redis
from pydantic import SecretStr
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from api.keys import create_key
from chaos.observer import REWRITTEN, WATCH
from chaos.proxy import Loop, Proxy
from chaos.receiver import Listener, Receiver
from chaos.wires import Wires
from clients.storage import Storage
from models import DEFAULT_ACCOUNT
from models.accounts import read_account
from models.migrate import migrate
from models.states import Scope, Stage
from producer.webhooks import register
from sandbox.stack import Child, Stack
from settings import Settings, get_settings
from worker.app import new_app

BUCKET = "chaos"
SIMULATOR_BYTES = 2_000
_PRODUCER = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "PHOTABATCH_ALLOWED_HOSTS")


class World:
    """A context manager. `folder` keeps its data and logs; `environment` goes to every process of photabatch."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        workers: int = 2,
        dispatchers: int = 2,
        latency: str = "lognormal:0.5,0.5",
        environment: dict[str, str] | None = None,
        service_environment: dict[str, str] | None = None,
    ) -> None:
        self.chance = random.Random(seed)
        self.folder, self._seed = folder, seed
        self._wanted = {"worker": workers, "dispatcher": dispatchers}
        self._latency = latency
        self._extra = environment or {}
        self._service_environment = service_environment or {}
        self._exits = contextlib.ExitStack()
        self._numbers = iter(range(1, 1_000_000))
        self.names: dict[str, list[str]] = {"worker": [], "dispatcher": [], "api": []}

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def _open(self) -> None:
        self.loop = self._exits.enter_context(Loop())
        stack = Stack(
            self.folder, bucket=BUCKET, longest_delay_seconds=0.5, service_environment=self._service_environment
        )
        self.stack = self._exits.enter_context(stack)
        self.services = self.stack.environment()
        migrate(self.services["PHOTABATCH_DATABASE_URL"])
        self._start_simulator()
        self.services |= {
            "PHOTABATCH_S3_BUCKET": BUCKET,
            "PHOTABATCH_ALLOWED_HOSTS": "127.0.0.1",
            "PHOTABATCH_HOME": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "",
            **self._extra,
        }
        self._be_a_producer()
        self.engine = create_engine(
            self.services["PHOTABATCH_DATABASE_URL"],
            pool_pre_ping=True,
            connect_args={"application_name": "chaos", "connect_timeout": 5},
        )
        self._exits.callback(self.engine.dispose)
        with self.engine.begin() as connection:
            connection.execute(text(WATCH))
            account = read_account(connection, DEFAULT_ACCOUNT)
            assert account is not None, "made by the migration"
            self.api_key = create_key(connection, account, name="chaos", scopes=list(Scope))
        self.storage = Storage(endpoint_url=self.services["PHOTABATCH_S3_ENDPOINT_URL"])
        self.redis = redis.Redis.from_url(self.services["PHOTABATCH_BROKER_URL"], socket_timeout=5)
        self.receiver = Receiver(self.loop)
        self.hooks = self.proxy(self.receiver.port)
        self.listen("/all", "*", is_digest=True)
        self.listeners = [Listener("/all")]
        self.each_url = self.listen("/each", "schedule.*")  # and the batches that name it
        self.wires = self.new_wires()
        self.api_url = self._start_api()
        for kind, count in self._wanted.items():
            for _ in range(count):
                self.start(kind)

    # -- services

    def proxy(self, port: int) -> Proxy:
        proxy = Proxy(self.loop, port, random.Random(self.chance.random()))
        self._exits.callback(proxy.close)
        return proxy

    def new_wires(self) -> Wires:
        """Proxies for one process alone."""
        url = self.services
        database = make_url(url["PHOTABATCH_DATABASE_URL"]).port
        ports = [urlsplit(url[f"PHOTABATCH_{name}_URL"]).port for name in ("BROKER", "S3_ENDPOINT", "PHOTA_BASE")]
        return Wires(*(self.proxy(int(port or 0)) for port in (database, *ports)))

    def listen(self, path: str, *events: str, is_digest: bool = False) -> str:
        """Register the receiver for these events of the default account; the URL. It goes through a proxy too."""
        url = f"http://127.0.0.1:{self.hooks.port}{path}"
        with self.engine.begin() as connection:
            hosts = [self.services["PHOTABATCH_ALLOWED_HOSTS"]]
            done = register(connection, DEFAULT_ACCOUNT, url, events=events, is_digest=is_digest, allowed_hosts=hosts)
        assert done.secret is not None, "registered once"
        self.receiver.secrets[path] = done.secret
        return url

    def kill_service(self, name: str) -> None:
        """SIGKILL to `postgres`, `valkey` or `s3`, all its processes; the stack starts it again."""
        child = self.stack.child(name)
        before = child.pid
        os.killpg(before, signal.SIGKILL)
        wait_for(lambda: child.pid != before and child.is_alive, at_most_s=60)

    def restart_service(self, name: str, what: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end in its own way; the stack starts it again."""
        child = self.stack.child(name)
        before = child.pid
        os.kill(before, what)
        wait_for(lambda: child.pid != before and child.is_alive, at_most_s=60)

    def wait_for_service(self, name: str, *, at_most_s: float = 60.0) -> None:
        """Until it does its work again: SELECT 1, PING, or a listing."""
        checks: dict[str, Callable[[], object]] = {
            "postgres": lambda: self.ask("SELECT 1"),
            "valkey": self.redis.ping,
            "s3": lambda: [self.storage.head(BUCKET, "nothing")],
        }
        wait_for(lambda: _works(checks[name]), at_most_s=at_most_s)

    def _family(self, name: str) -> list[psutil.Process]:
        process = psutil.Process(self.stack.child(name).pid)
        return [process, *process.children(recursive=True)]

    # -- processes of photabatch

    def start(self, kind: str, *words: str, wires: Wires | None = None, **environment: str) -> str:
        """`worker`, `dispatcher`, or another command; its name. `wires`: its own instead of everybody's."""
        name = f"{kind}-{next(self._numbers)}"
        self.names.setdefault(kind, []).append(name)
        mark = {"PGOPTIONS": f"-c chaos.process={name}"}  # what a trigger of ours knows its sessions by
        env = (wires or self.wires).environment(self.services) | mark | environment
        argv = [sys.executable, "-P", "-m", "cli.main", kind, *words]
        self.stack.spawn(name, argv, env=env, cwd=self.folder, restart=kind == "api")
        return name

    def child(self, name: str) -> Child:
        return self.stack.child(name)

    def alive(self, kind: str) -> list[str]:
        return [name for name in self.names[kind] if self.stack.child(name).is_alive]

    def kill(self, name: str) -> None:
        """SIGKILL to a process and whatever it started; it stays dead."""
        child = self.stack.child(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        wait_for(lambda: not child.is_alive, at_most_s=10)
        self.forget(name)

    def freeze(self, name: str) -> None:
        """SIGSTOP to a process of photabatch and its children, or to a service."""
        for process in self._family(name):
            process.suspend()

    def thaw(self, name: str) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # killed meanwhile
            for process in reversed(self._family(name)):
                process.resume()

    def forget(self, name: str) -> None:
        """One that has ended."""
        for names in self.names.values():
            with contextlib.suppress(ValueError):
                names.remove(name)

    def keep_up(self) -> int:
        """Start again what has ended of workers and dispatchers; how many that were."""
        ended = 0
        for kind, wanted in self._wanted.items():
            for name in [name for name in self.names[kind] if not self.stack.child(name).is_alive]:
                self.forget(name)
            for _ in range(wanted - len(self.names[kind])):
                self.start(kind)
                ended += 1
        return ended

    def terminate(self, name: str) -> None:
        """SIGTERM, and wait for its end."""
        child = self.stack.child(name)
        os.kill(child.pid, signal.SIGTERM)
        wait_for(lambda: not child.is_alive, at_most_s=30)
        self.forget(name)

    # -- Phota

    def configure(self, **behaviour: Any) -> None:
        """Change how the simulated Phota behaves from now on."""
        self.phota.post("/_sim/config", json=behaviour).raise_for_status()

    def ledger(self, *, totals: bool = False) -> dict[str, Any]:
        answer: dict[str, Any] = self.phota.get("/_sim/ledger", params={"totals": 1} if totals else None).json()
        return answer

    def asked(self, *, since_s: float) -> list[dict[str, Any]]:
        """What the simulated Phota was asked for since then, Unix time."""
        answer: dict[str, list[dict[str, Any]]] = self.phota.get("/_sim/jobs", params={"since": since_s}).json()
        return answer["jobs"]

    def _start_simulator(self) -> None:
        port = self.stack.port("phota", preferred=19400)
        self.phota = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        self._exits.callback(self.phota.close)
        self.services["PHOTABATCH_PHOTA_BASE_URL"] = f"{self.phota.base_url}/v1/phota"
        options = ["--port", str(port), "--latency", self._latency, "--bytes", str(SIMULATOR_BYTES)]
        argv = [sys.executable, "-P", "-m", "cli.main", "simulator", *options, "--seed", str(self._seed)]
        self.stack.spawn("simulator", argv, restart=False, ready=lambda: _is_up(f"{self.phota.base_url}/_sim/config"))

    def _start_api(self) -> str:
        port = self.stack.port("api", preferred=19900)
        url = f"http://127.0.0.1:{port}"
        self.services["PHOTABATCH_PUBLIC_URL"] = url
        self.start("api", "--port", str(port))
        wait_for(lambda: _is_up(f"{url}/healthz"), at_most_s=60)
        return url

    def _be_a_producer(self) -> None:
        """This process submits too: it reads the same variables, and none of its caller's."""
        before = {name: os.environ.get(name) for name in (*_PRODUCER, "PHOTABATCH_S3_BUCKET")}
        os.environ.update({name: self.services[name] for name in before})
        get_settings.cache_clear()
        self._exits.callback(_restore, before)

    def send_again(self, jobs: list[uuid.UUID], *, times: int) -> None:
        """A message for every stage with these ids, so many times, past the dispatcher."""
        app = new_app(Settings(broker_url=SecretStr(self.services["PHOTABATCH_BROKER_URL"])))
        ids = [str(job) for job in jobs]
        with app.connection_for_write() as connection:
            for stage in (Stage.SUBMIT, Stage.POLL, Stage.STORE):
                for _ in range(times):
                    app.send_task(f"job.{stage}", (ids,), queue=stage.value, connection=connection)

    def hasten_events(self) -> None:
        """As if the time had passed until the next try of what a receiver did not take: minutes, then hours."""
        with self.engine.begin() as connection:
            connection.execute(
                text("UPDATE deliveries SET due_at = now() WHERE state = 'pending' AND due_at > now() + interval '5 s'")
            )

    def is_told(self) -> bool:
        """No event waits to be delivered."""
        return not self.ask("SELECT count(*) FROM deliveries WHERE state = 'pending'")

    # -- progress

    def ask(self, statement: str, **parameters: Any) -> Any:
        """The first value of an answer; a database that is away is waited for."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with self.engine.connect() as connection:
                    return connection.scalar(text(statement), parameters)
            except DBAPIError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def ended(self) -> int:
        """How many jobs have ended so far."""
        statement = f"SELECT coalesce(max(id), 0) FROM chaos_finals WHERE state NOT LIKE '%{REWRITTEN}'"
        return int(self.ask(statement))

    def has_ended(self, batch_id: uuid.UUID) -> bool:
        """Every job of that batch."""
        statement = "SELECT EXISTS (SELECT FROM jobs WHERE batch_id = :id AND finished_at IS NULL)"
        return not self.ask(statement, id=batch_id)

    def unfinished(self) -> int:
        """Jobs that are in no final state yet."""
        return int(self.ask("SELECT count(*) FROM jobs WHERE finished_at IS NULL"))

    def wait_for_progress(self, *, at_most_s: float = 120.0) -> float | None:
        """Seconds until the next job ends; None, at once, if nothing is left to do. Raise TimeoutError."""
        began, before = time.monotonic(), self.ended()
        wait_for(lambda: self.ended() > before or not self.unfinished(), every_s=0.02, at_most_s=at_most_s)
        return time.monotonic() - began if self.ended() > before else None


def wait_for(holds: Callable[[], object], *, every_s: float = 0.05, at_most_s: float = 30.0) -> None:
    """Raise TimeoutError if it does not within that time."""
    deadline = time.monotonic() + at_most_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {at_most_s:.0f} s")
        time.sleep(every_s)


def _works(check: Callable[[], object]) -> bool:
    try:
        check()
    except Exception:
        return False
    return True


def _is_up(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    get_settings.cache_clear()
