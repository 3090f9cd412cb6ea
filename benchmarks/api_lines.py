"""Many JSON lines in one request: seconds, memory of the API process, and how soon the first job is called.

python -m benchmarks.api_lines [--lines 100000]
"""

import argparse
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil

from api.keys import create_key
from benchmarks.fleet import Fleet, fleet, machine, wait_for
from models.states import Scope
from producer.ownership import OPERATOR

_CHUNK = 64 * 2**10  # bytes, as a client sends them
_LOOK_S = 0.02


def lines(count: int) -> bytes:
    """As much a line as a real one has; about 200 bytes."""
    return b"".join(json.dumps(job(number)).encode() + b"\n" for number in range(count))


def job(number: int) -> dict[str, object]:
    image = f"https://photos.example.com/2026/summer/IMG_{number:07}.jpg"
    params = {"image": image, "profile_ids": ["abc123"], "num_output_images": 2, "output_format": "jpg"}
    return {"custom_id": f"summer/IMG_{number:07}.jpg", "operation": "enhance", "params": params}


class Peak:
    """The most memory that a process and its children held at once, in MB."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.mb = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Looks 50 times a second while the block lasts."""
        is_over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(is_over,))
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _watch(self, is_over: threading.Event) -> None:
        while not is_over.wait(_LOOK_S):
            with contextlib.suppress(psutil.NoSuchProcess):  # one that ends while it is looked at
                family = [self._process, *self._process.children(recursive=True)]
                self.mb = max(self.mb, sum(each.memory_info().rss for each in family) / 2**20)


def called_at(running: Fleet) -> float:
    """When the first job came to Phota, by the clock of this machine."""
    found: list[dict[str, float]] = []

    def is_there() -> bool:
        found.extend(running.phota.get("/_sim/jobs").json()["jobs"])
        return bool(found)

    wait_for(is_there, every_s=0.05)
    return min(each["created_at"] for each in found)


def measure(count: int) -> None:
    content = lines(count)
    with fleet(workers=1, latency="60", size=2_000, concurrency="8", with_api=True) as running:
        assert running.api is not None
        assert running.api_url is not None
        with running.engine.begin() as connection:
            key = create_key(connection, OPERATOR, name="benchmark", scopes=[Scope.SUBMIT])
        at_rest_mb = running.api.memory_info().rss / 2**20
        peak = Peak(running.api)
        began = time.monotonic()
        with peak.watched(), httpx.Client(base_url=running.api_url, timeout=600, trust_env=False) as client:
            answer = client.post(
                "/v1/batches",
                params={"name": "lines"},
                headers={"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"},
                content=(content[start : start + _CHUNK] for start in range(0, len(content), _CHUNK)),
            )
        seconds, ended_at = time.monotonic() - began, time.time()
        assert answer.status_code == 202, answer.text
        assert answer.json()["accepted"] == count
        wait_ms = (called_at(running) - ended_at) * 1000
    print(f"{machine()}")
    print(f"{count} JSON lines, {len(content) / 2**20:.0f} MB, in one request to `photabatch api`")
    print(f"{seconds:8.1f} s from the first byte sent to the answer ({seconds / count * 1e6:.0f} µs a line)")
    print(f"{peak.mb:8.0f} MB resident at most, the API process with its children ({at_rest_mb:.0f} MB at rest)")
    print(f"{wait_ms:8.0f} ms from the answer to the first call at Phota")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    measure(parser.parse_args().lines)
