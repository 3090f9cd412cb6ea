"""Two servers that say back what they hear: a Phota in front of the simulated one, and a receiver of webhooks."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx

Said = tuple[int, bytes]


class Parrot:
    """Phota, whose refusals quote the whole request, key and prompt included.

    A prompt with `echo 400` in it is refused so, always; `echo 500 once` the first time; `echo failed` by the polls.
    """

    def __init__(self, simulator: str) -> None:
        self._simulator = httpx.Client(base_url=simulator, timeout=20, trust_env=False)
        self._told = defaultdict[str, int](int)
        self._failing: dict[str, str] = {}

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Said:
        prompt = str(json.loads(body or b"{}").get("prompt", ""))
        quoted = f"refused: {prompt} {prompt[:30]} {json.dumps(headers)} {body.decode()}"
        if (echo := _echo(prompt)) and (echo[1] != "once" or not self._told[prompt]):
            self._told[prompt] += 1
            status = int(echo[0])
            detail: Any = [{"loc": ["body", "prompt"], "msg": quoted, "input": prompt}] if status == 422 else quoted
            return status, json.dumps({"code": "REFUSED", "detail": detail}).encode()
        if method == "GET" and (prompt := self._failing.get(path.rpartition("/")[2], "")):
            return 200, json.dumps(
                {"status": "failed", "error": {"code": "BROKEN", "message": f"on: {prompt}"}}
            ).encode()
        passed = self._simulator.request(method, path, headers=headers, content=body)
        if "echo failed" in prompt:
            self._failing[passed.json()["job_id"]] = prompt
        return passed.status_code, passed.content


def _echo(prompt: str) -> tuple[str, str] | None:
    _, found, rest = prompt.partition("echo ")
    status, _, often = rest.partition(" ")
    return (status, often.partition(" ")[0]) if found and status.isdecimal() else None


class Receiver:
    """Takes a webhook at `/ok…`, fails at `/fails…` the first time, is gone at `/gone…`."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def answer(self, _: str, path: str, __: dict[str, str], body: bytes) -> Said:
        is_first = not any(each.startswith(path.encode()) for each in self.heard)
        self.heard.append(path.encode() + b" " + body)
        status = 410 if path.startswith("/gone") else 500 if path.startswith("/fails") and is_first else 200
        return status, f"you said {path} {body.decode()}".encode()


@contextmanager
def serving(answer: Callable[[str, str, dict[str, str], bytes], Said]) -> Iterator[str]:
    """The address of a server that answers so."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            kept = {name.lower(): value for name, value in self.headers.items() if name.lower() != "host"}
            status, content = answer(self.command, self.path, kept, body)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
