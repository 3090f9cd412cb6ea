"""A fleet of real processes on an embedded stack of its own, with its processor time and memory measured."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from sqlalchemy import Engine, text

from models.engine import new_engine
from models.migrate import migrate
from sandbox.stack import Stack


@dataclass
class Fleet:
    engine: Engine
    phota: httpx.Client
    workers: list[psutil.Process]
    api: psutil.Process | None
    api_url: str | None  # with `with_api`
    environment: dict[str, str]  # of a command that works on this fleet

    def worker_cpu_s(self) -> float:
        """User and system time of the worker processes and their decoding children so far, in seconds."""
        return sum(_cpu_s(process) for worker in self.workers for process in _family(worker))

    def worker_memory_mb(self) -> float:
        """Proportional set size of the worker processes and their children: shared pages count once."""
        return sum(process.memory_full_info().pss for worker in self.workers for process in _family(worker)) / 2**20

    def succeeded(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(text("SELECT count(*) FROM jobs WHERE state = 'succeeded'")) or 0)


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def fleet(
    *, workers: int, latency: str, size: int, concurrency: str, chunk: int = 32, with_api: bool = False
) -> Iterator[Fleet]:
    """Dispatcher and workers as `photabatch up` runs them; Phota simulated with `size`-byte results.

    `with_api`: the HTTP API too, and Phota calls back.
    """
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        url = stack.environment()["PHOTABATCH_DATABASE_URL"]
        migrate(url)
        port = stack.port("phota", preferred=18600)
        phota = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        environment = {
            "PHOTABATCH_PHOTA_BASE_URL": f"{phota.base_url}/v1/phota",
            "PHOTABATCH_CONCURRENCY": concurrency,
            "PHOTABATCH_CHUNK": str(chunk),
            "PHOTABATCH_ALLOWED_HOSTS": "127.0.0.1",
        }
        api_port = stack.port("api", preferred=18700)
        api_url = f"http://127.0.0.1:{api_port}" if with_api else None
        if api_url is not None:
            environment["PHOTABATCH_PUBLIC_URL"] = api_url
        options = ["--port", str(port), "--latency", latency, "--bytes", str(size)]
        stack.spawn("simulator", _command("simulator", *options), ready=lambda: _answers(phota))
        stack.spawn("dispatcher", _command("dispatcher"), env=environment)
        children = [stack.spawn(f"worker-{n}", _command("worker"), env=environment) for n in range(workers)]
        api = None
        if api_url is not None:
            api = stack.spawn("api", _command("api", "--port", str(api_port)), env=environment)
        time.sleep(5)  # imports and first connections are not what is measured
        engine = new_engine(url)
        processes = [psutil.Process(child.pid) for child in children]
        yield Fleet(
            engine, phota, processes, api and psutil.Process(api.pid), api_url, stack.environment() | environment
        )
        engine.dispose()


def _command(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "cli.main", *words]


def _answers(phota: httpx.Client) -> bool:
    try:
        return phota.get("/_sim/config").status_code == 200
    except httpx.HTTPError:
        return False


def wait_for(holds: Callable[[], bool], *, every_s: float = 0.2, at_most_s: float = 300) -> None:
    deadline = time.monotonic() + at_most_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {at_most_s:.0f} s")
        time.sleep(every_s)


def machine() -> str:
    """What ran it, for the record."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "unknown processor",
    )
    return f"{os.cpu_count()} × {model}, Python {sys.version.split()[0]}"
