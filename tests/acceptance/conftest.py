"""A fleet of real processes for each test: simulated Phota, dispatcher and workers on the services of the run."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from sqlalchemy import Engine, text

from clients.storage import Storage
from sandbox.samples import write_samples
from sandbox.stack import Child, Stack
from settings import get_settings
from tests.acceptance.emptying import empty_bucket, empty_database
from tests.databases import Databases

_numbers = itertools.count(1)
SHARED = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
    "PHOTABATCH_ALLOWED_HOSTS",
    "PHOTABATCH_S3_BUCKET",
)


def eventually(holds: Callable[[], object], *, within_s: float = 30.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False


class Fleet:
    """Processes of one test, or of several one after the other; every one is the installed program."""

    def __init__(self, stack: Stack, database_url: str, home: Path) -> None:
        self._stack = stack
        self.database_url = database_url
        self._number = next(_numbers)
        self._names: list[str] = []
        self._patch: dict[str, str | None] = {}
        services = stack.environment()
        broker = services["PHOTABATCH_BROKER_URL"].rpartition("/")[0]
        self.environment = {
            **services,
            "PHOTABATCH_DATABASE_URL": database_url,
            "PHOTABATCH_BROKER_URL": f"{broker}/{self._number % 16}",
            "PHOTABATCH_S3_BUCKET": f"fleet-{self._number}",
            "PHOTABATCH_HOME": str(home),
            "PHOTABATCH_ALLOWED_HOSTS": "127.0.0.1",
            "PYTHONDONTWRITEBYTECODE": "",  # a process that compiles everything anew takes seconds to start
        }
        self.redis = redis.Redis.from_url(self.environment["PHOTABATCH_BROKER_URL"])
        self.redis.flushdb()
        self.home = home

    def start_simulator(self, *options: str) -> None:
        port = self._stack.port(f"phota-{self._number}", preferred=18400)
        self.phota = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False)
        self.environment["PHOTABATCH_PHOTA_BASE_URL"] = f"{self.phota.base_url}/v1/phota"
        self._spawn("simulator", "--port", str(port), *options, ready=self._answers)

    def start_api(self) -> str:
        """The HTTP API, which Phota calls back too; its address. Start it before the workers: they tell Phota of it."""
        port = self._stack.port(f"api-{self._number}", preferred=18900)
        url = f"http://127.0.0.1:{port}"
        self.environment["PHOTABATCH_PUBLIC_URL"] = url
        self._spawn("api", "--port", str(port), ready=lambda: _is_up(f"{url}/healthz"))
        return url

    def start(self, *, workers: int = 1, dispatchers: int = 1, **environment: str) -> None:
        for _ in range(dispatchers):
            self._spawn("dispatcher", **environment)
        for _ in range(workers):
            self.start_worker(**environment)

    def start_worker(self, **environment: str) -> Child:
        return self._spawn("worker", **environment)

    def _spawn(self, *words: str, ready: Callable[[], bool] | None = None, **environment: str) -> Child:
        name = f"fleet{self._number}-{words[0]}-{len(self._names)}"
        self._names.append(name)
        argv = [sys.executable, "-P", "-m", "cli.main", *words]
        env = {**self.environment, **environment}
        return self._stack.spawn(name, argv, env=env, cwd=self.home, restart=False, ready=ready)

    def child(self, kind: str, number: int = 0) -> Child:
        """The `number`-th child of a kind that still lives."""
        names = [name for name in self._names if f"-{kind}-" in name]
        return [child for child in map(self._stack.child, names) if child.is_alive][number]

    def _answers(self) -> bool:
        return _is_up(f"{self.phota.base_url}/_sim/config")

    def configure(self, **behaviour: Any) -> None:
        """Change how the simulated Phota behaves from now on."""
        self.phota.post("/_sim/config", json=behaviour).raise_for_status()

    def ledger(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.phota.get("/_sim/ledger").json()
        return answer

    def command(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `photabatch …` as a user does."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "cli.main", *words],
            env={**os.environ, **self.environment, **environment},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )

    def batch(self, *words: str) -> dict[str, Any]:
        """The batch object that `photabatch … --json` prints."""
        done = self.command(*words, "--json")
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def share_environment(self) -> None:
        """The test's own process is a producer too: it reads the same variables."""
        self._patch.update({name: os.environ.get(name) for name in SHARED})
        os.environ.update({name: self.environment[name] for name in SHARED})
        get_settings.cache_clear()

    def unshare_environment(self) -> None:
        for name, value in self._patch.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        self._patch.clear()
        get_settings.cache_clear()

    def stop(self) -> None:
        self.unshare_environment()
        self._stack.stop_children(*self._names)
        self.phota.close()

    def move(self, home: Path) -> None:
        """The next test's commands run there."""
        self.home = home
        self.environment["PHOTABATCH_HOME"] = str(home)

    def setup(self) -> tuple[Any, ...]:
        """What a test must leave as it was for the fleet to be used again."""
        names = [(name, self._stack.child(name).is_alive) for name in self._names]
        return names, {name: value for name, value in self.environment.items() if name != "PHOTABATCH_HOME"}

    def be_as_new(self) -> bool:
        """Whether it is now, as far as the next test can tell."""
        if not empty_database(self.database_url):
            return False
        empty_bucket(self.environment["PHOTABATCH_S3_ENDPOINT_URL"], self.environment["PHOTABATCH_S3_BUCKET"])
        self.phota.post("/_sim/reset").raise_for_status()
        return True


def _is_up(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="session")
def parked() -> Iterator[dict[tuple[str, ...], Fleet]]:
    """Fleets between two tests, by the options of their simulated Phota."""
    fleets: dict[tuple[str, ...], Fleet] = {}
    yield fleets
    for fleet in fleets.values():
        fleet.stop()


Lender = Callable[[tuple[str, ...]], Iterator[Fleet]]


@pytest.fixture
def lent(stack: Stack, databases: Databases, parked: dict[tuple[str, ...], Fleet], tmp_path: Path) -> Lender:
    """Dispatcher, worker, and a simulated Phota: those of an earlier test, emptied, if it left them as they were."""

    def lend(options: tuple[str, ...]) -> Iterator[Fleet]:
        fleet = parked.pop(options, None)
        if fleet is None:
            fleet = bare_fleet(stack, databases.new(), tmp_path, *options)
            fleet.start()
        fleet.move(tmp_path)
        fleet.share_environment()
        before = fleet.setup()
        yield fleet
        if fleet.setup() == before and fleet.be_as_new():
            fleet.unshare_environment()
            parked[options] = fleet
        else:
            fleet.stop()

    return lend


@pytest.fixture
def database_url(request: pytest.FixtureRequest, stack: Stack, databases: Databases) -> str:
    """That of the fleet, where the test has one that is lent; otherwise an empty one."""
    for name in ("fleet", "studio"):
        if name in request.fixturenames:
            return str(request.getfixturevalue(name).database_url)
    return databases.new()


@pytest.fixture
def fleet(lent: Lender) -> Iterator[Fleet]:
    """Dispatcher, worker, and a simulated Phota that answers within a fifth of a second."""
    yield from lent(QUICK)


@pytest.fixture
def studio(lent: Lender) -> Iterator[Fleet]:
    """A fleet whose simulated Phota really works on the pictures."""
    yield from lent(("--latency", "0.1"))


@pytest.fixture
def idle_fleet(stack: Stack, database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    """The simulated Phota only: the test starts the processes itself."""
    fleet = bare_fleet(stack, database_url, tmp_path, *QUICK)
    yield fleet
    fleet.stop()


QUICK = ("--latency", "0.2", "--bytes", "2000")  # every result is one small picture


def bare_fleet(stack: Stack, database_url: str, home: Path, *options: str) -> Fleet:
    fleet = Fleet(stack, database_url, home)
    fleet.share_environment()
    fleet.start_simulator(*options)
    storage_of(fleet).ensure_bucket(fleet.environment["PHOTABATCH_S3_BUCKET"])
    return fleet


def storage_of(fleet: Fleet) -> Storage:
    return Storage(endpoint_url=fleet.environment["PHOTABATCH_S3_ENDPOINT_URL"])


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder, 6)
    return folder


def states(engine: Engine) -> dict[str, int]:
    """How many jobs are in each state."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT state, count(*) FROM jobs GROUP BY state"))
        return {row[0]: row[1] for row in rows}
