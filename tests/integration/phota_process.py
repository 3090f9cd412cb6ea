"""The simulated Phota API as a child process, and short hands to talk to it."""

import base64
import contextlib
import io
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pillow_heif
from PIL import Image

V1 = "/v1/phota"

pillow_heif.register_heif_opener()


@contextlib.contextmanager
def running(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "sandbox.phota", "--latency", "0.02", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        found = re.search(r"http://[\d.:]+", process.stdout.readline())
        assert found, "it did not start"
        yield found[0], process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def talking(address: str) -> Iterator[httpx.Client]:
    """A client with a key, of a simulator without jobs."""
    with httpx.Client(base_url=address, headers={"X-API-Key": "any"}, timeout=20, trust_env=False) as client:
        client.post("/_sim/reset").raise_for_status()
        yield client


def tell(api: httpx.Client, **patch: Any) -> None:
    """Change how the simulator behaves."""
    api.post("/_sim/config", json=patch).raise_for_status()


def picture(
    colour: str = "olive", *, orientation: int = 1, form: str = "JPEG", size: tuple[int, int] = (120, 80)
) -> str:
    exif, target = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.new("RGB", size, colour).save(target, form, exif=exif.tobytes())
    return base64.b64encode(target.getvalue()).decode()


def post(api: httpx.Client, operation: str = "generate", **body: Any) -> httpx.Response:
    given = {"prompt": "a quiet sea"} if operation in ("generate", "edit") else {}
    return api.post(f"{V1}/{operation}", json=given | body)


def post_async(api: httpx.Client, operation: str = "generate", **body: Any) -> httpx.Response:
    return post(api, operation, **{"async": True, "response_mode": "urls"}, **body)


def wait(api: httpx.Client, job_id: str) -> dict[str, Any]:
    for _ in range(400):
        job: dict[str, Any] = api.get(f"{V1}/jobs/{job_id}").json()
        if job["status"] in ("succeeded", "failed"):
            return job
        time.sleep(0.02)
    raise AssertionError(f"job {job_id} did not end")


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def image_of(answer: httpx.Response, index: int = 0) -> Image.Image:
    return opened(base64.b64decode(answer.json()["images"][index]))


def ledger(api: httpx.Client) -> dict[str, Any]:
    report: dict[str, Any] = api.get("/_sim/ledger").json()
    return report


@contextlib.contextmanager
def receiving() -> Iterator[tuple[str, Callable[[], tuple[bytes, str]]]]:
    calls: list[tuple[bytes, str]] = []
    arrived = threading.Event()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            calls.append((self.rfile.read(int(self.headers["Content-Length"])), self.headers["X-Phota-Signature"]))
            self.send_response(204)
            self.end_headers()
            arrived.set()

        def log_message(self, *_: object) -> None:
            pass

    def received() -> tuple[bytes, str]:
        assert arrived.wait(5)
        return calls[0]

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", received
        server.shutdown()
