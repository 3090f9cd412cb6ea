"""From the end of a job at Phota to its webhook at the receiver, everything at rest.

python -m benchmarks.webhook [--jobs 200] [--polling]
"""

import argparse
import os
import statistics
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from benchmarks.fleet import fleet, machine, wait_for
from producer.submission import submit

_LATENCY_S = 1.0


class _Receiver(ThreadingHTTPServer):
    """Notes when each event came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.came_at: list[float] = []


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        came_at = time.time()
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()
        assert isinstance(self.server, _Receiver)
        self.server.came_at.append(came_at)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def measure(jobs: int, *, callbacks: bool) -> None:
    waits_ms = []
    os.environ["PHOTABATCH_ALLOWED_HOSTS"] = "127.0.0.1"  # the receiver's, in this process too
    receiver = _Receiver()
    Thread(target=receiver.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{receiver.server_address[1]}/hook"
    job = {"operation": "generate", "params": {"prompt": "a boat"}, "webhook_url": url}
    with fleet(workers=2, latency=str(_LATENCY_S), size=2_000, concurrency="auto", with_api=callbacks) as running:
        for number in range(1, jobs + 1):
            with running.engine.begin() as connection:
                submit(job, session=connection)
            wait_for(lambda number=number: len(receiver.came_at) == number, every_s=0.02)
            ended_at = max(each["finished_at"] for each in running.phota.get("/_sim/jobs").json()["jobs"])
            waits_ms.append((receiver.came_at[-1] - ended_at) * 1000)
            time.sleep(0.3)  # at rest again
    waits_ms.sort()
    print(f"{machine()}")
    print(f"{jobs} lone jobs, one after the other, {'with callbacks' if callbacks else 'polled'}: from done to webhook")
    print(f"{statistics.median(waits_ms):8.1f} ms median")
    print(f"{waits_ms[int(len(waits_ms) * 0.99)]:8.1f} ms 99th percentile")
    print(f"{waits_ms[-1]:8.1f} ms at most")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--polling", action="store_true", help="without callbacks")
    options = parser.parse_args()
    measure(options.jobs, callbacks=not options.polling)
