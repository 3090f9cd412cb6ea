"""Jobs a second, processor time a job and memory of the workers, for many jobs in flight.

python -m benchmarks.throughput [--jobs 2000] [--in-flight 1000] [--workers 2]
"""

import argparse
import time

from benchmarks.fleet import Fleet, fleet, machine, wait_for
from producer.batches import close_batch, open_batch
from producer.jobs import check
from producer.submission import insert


def run(running: Fleet, jobs: int) -> None:
    job = {"operation": "generate", "params": {"prompt": "a boat"}}
    checked = [check(job | {"custom_id": str(number)}) for number in range(jobs)]
    with running.engine.begin() as connection:
        batch = open_batch(connection, "throughput")
        insert(connection, checked, batch=batch)
        close_batch(connection, batch)


def measure(arguments: argparse.Namespace) -> None:
    with fleet(
        workers=arguments.workers,
        latency=str(arguments.latency),
        size=300_000,
        concurrency=str(arguments.in_flight),
        chunk=arguments.chunk,
    ) as running:
        cpu_s, peak_mb = running.worker_cpu_s(), 0.0
        started = time.monotonic()
        run(running, arguments.jobs)

        def done() -> bool:
            nonlocal peak_mb
            peak_mb = max(peak_mb, running.worker_memory_mb())
            return running.succeeded() == arguments.jobs

        wait_for(done, every_s=0.5)
        seconds = time.monotonic() - started
        cpu_ms = (running.worker_cpu_s() - cpu_s) / arguments.jobs * 1000
        ledger = running.phota.get("/_sim/ledger?totals=1").json()
    print(f"{machine()}")
    print(
        f"{arguments.jobs} jobs, 300 KB outputs, {arguments.latency} s latency, up to {arguments.in_flight} in flight"
    )
    print(f"{arguments.jobs / seconds:8.1f} jobs/s   ({seconds:.1f} s)")
    print(f"{cpu_ms:8.1f} ms of CPU a job, all worker processes with their decoders")
    print(f"{peak_mb:8.0f} MB, all worker processes, peak")
    print(f"{ledger['max_in_flight']:8} in flight at Phota at most; {ledger['totals']['charges']} charges")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--latency", type=float, default=2.0)
    parser.add_argument("--chunk", type=int, default=32)
    measure(parser.parse_args())
