"""A long manifest from the command line: planned and submitted; and ten photos that somebody waits for, behind it.

python -m benchmarks.manifest [--lines 1000000]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import redis

from benchmarks.api_lines import Peak, job
from benchmarks.fleet import Fleet, fleet, machine, wait_for
from models import Priority
from producer.batches import close_batch, open_batch
from producer.submission import submit

_PHOTOS = 10
_LOOKS_S = 20.0  # of the broker's memory while the workers are busy


def write_manifest(path: Path, count: int) -> None:
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps(job(number)) + "\n")


def photabatch(running: Fleet, *words: str) -> tuple[float, float]:
    """Seconds that a command took, and the most memory it held, in MB."""
    argv = [sys.executable, "-P", "-m", "cli.main", *words]
    began = time.monotonic()
    env = {**os.environ, **running.environment}
    with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        peak = Peak(psutil.Process(process.pid))
        with peak.watched():
            _, told = process.communicate()
    assert process.returncode == 0, told
    return time.monotonic() - began, peak.mb


def begun_after_ms(running: Fleet, prompt: str) -> tuple[float, float]:
    """From the commit of ten interactive jobs to the call of the first and of the last of them."""
    with running.engine.begin() as connection:
        batch = open_batch(connection, "ten", priority=Priority.INTERACTIVE)
        jobs = [{"operation": "generate", "params": {"prompt": prompt}, "custom_id": str(n)} for n in range(_PHOTOS)]
        submit(jobs, batch=batch, session=connection)
        close_batch(connection, batch)
    committed_at = time.time()
    called: list[float] = []

    def are_called() -> bool:
        found = running.phota.get("/_sim/jobs").json()["jobs"]
        generated = [each["created_at"] for each in found if each["operation"] == "generate"]
        called[:] = [moment for moment in generated if moment >= committed_at]
        return len(called) == _PHOTOS

    wait_for(are_called, every_s=0.25)  # Phota itself tells when it was called
    return (min(called) - committed_at) * 1000, (max(called) - committed_at) * 1000


def broker_mb(url: str) -> float:
    """The most memory that the broker used in a while."""
    client, most, until = redis.Redis.from_url(url), 0, time.monotonic() + _LOOKS_S
    while time.monotonic() < until:
        most = max(most, client.info("memory")["used_memory"])
        time.sleep(0.2)
    return most / 2**20


def measure(count: int) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        fleet(workers=2, latency="2", size=2_000, concurrency="64") as running,
    ):
        manifest = Path(folder) / "jobs.jsonl"
        write_manifest(manifest, count)
        planned_s, planned_mb = photabatch(running, "plan", str(manifest))
        submitted_s, submitted_mb = photabatch(running, "submit", str(manifest), "--yes")
        at_once = begun_after_ms(running, "at once")
        broker = broker_mb(running.environment["PHOTABATCH_BROKER_URL"])
        later = begun_after_ms(running, "later")
    print(f"{machine()}")
    print(f"{count} lines, {count * 215 / 2**20:.0f} MB, from the command line, with two workers at work")
    print(f"{planned_s:8.1f} s to plan, {count / planned_s:,.0f} lines/s, {planned_mb:.0f} MB at most")
    print(f"{submitted_s:8.1f} s to submit, {count / submitted_s:,.0f} rows/s, {submitted_mb:.0f} MB at most")
    for when, (first_ms, last_ms) in (("at once", at_once), (f"{_LOOKS_S:.0f} s later", later)):
        print(
            f"{first_ms:8.0f} ms from the commit of {_PHOTOS} interactive jobs behind them, {when}, to the first call"
        )
        print(f"{last_ms:8.0f} ms to the last one's")
    print(f"{broker:8.1f} MB of memory used by the broker at most")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    measure(parser.parse_args().lines)
