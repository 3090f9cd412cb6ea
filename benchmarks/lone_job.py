"""From the commit of a lone job, everything at rest, to the call at Phota.

python -m benchmarks.lone_job [--jobs 200]
"""

import argparse
import statistics
import time

from benchmarks.fleet import fleet, machine, wait_for
from producer.submission import submit


def measure(jobs: int) -> None:
    waits_ms = []
    with fleet(workers=2, latency="0.05", size=2_000, concurrency="auto") as running:
        for number in range(1, jobs + 1):
            with running.engine.begin() as connection:
                submit({"operation": "generate", "params": {"prompt": "a boat"}}, session=connection)
            committed = time.time()
            wait_for(lambda number=number: running.succeeded() == number, every_s=0.05)
            time.sleep(0.3)  # at rest again
            waits_ms.append((accepted_at(running.phota.get("/_sim/jobs").json()) - committed) * 1000)
    waits_ms.sort()
    print(f"{machine()}")
    print(f"{jobs} lone jobs, one after the other: from commit to the call at Phota")
    print(f"{statistics.median(waits_ms):8.1f} ms median")
    print(f"{waits_ms[int(len(waits_ms) * 0.99)]:8.1f} ms 99th percentile")
    print(f"{waits_ms[-1]:8.1f} ms at most")


def accepted_at(answer: dict[str, list[dict[str, float]]]) -> float:
    """When the newest job came in, by the clock of this machine."""
    return max(job["created_at"] for job in answer["jobs"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    measure(parser.parse_args().jobs)
