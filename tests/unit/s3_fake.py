"""An S3 of a few objects whose next PUTs go wrong as they are told to."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_REFUSALS = {
    403: "AccessDenied",
    404: "NoSuchKey",
    409: "ConditionalRequestConflict",
    412: "PreconditionFailed",
    501: "NotImplemented",
    503: "SlowDown",
}


@dataclass(slots=True)
class FakeS3:
    """`faults`: of the next PUTs, one each.

    `half`: half is stored, and the answer is 200; `gone`: nothing is, and 200. `reset`: the connection ends in the
    middle of the body; `reset_half`: half is stored then; `reset_after`: all is, and no answer comes. A number: that
    status. None: nothing. `head`: the status of every HEAD.
    """

    faults: list[str | int | None] = field(default_factory=list)
    head: int = 200
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    puts: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def put(self, key: str, body: bytes, headers: dict[str, str]) -> int | None:
        """The status; None: the connection breaks."""
        with self.lock:
            self.puts += 1
            fault = self.faults.pop(0) if self.faults else None
            if isinstance(fault, int):
                return fault
            if self._is_refused(key, headers):
                return 412
            if fault not in ("gone", "reset"):
                kept = body[: len(body) // 2] if fault in ("half", "reset_half") else body
                self.objects[key] = (kept, headers)
            return None if fault in ("reset", "reset_half", "reset_after") else 200

    def _is_refused(self, key: str, headers: dict[str, str]) -> bool:
        found = self.objects.get(key)
        if headers.get("if-none-match") == "*":
            return found is not None
        return "if-match" in headers and (found is None or headers["if-match"] != etag_of(found[0]))


def etag_of(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


class _Server(ThreadingHTTPServer):
    def __init__(self, state: FakeS3) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = state


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_PUT(self) -> None:
        headers = {name.lower(): text for name, text in self.headers.items()}
        body = self.rfile.read(int(headers["content-length"]))
        status = self.server.state.put(self.path, body, headers)
        if status is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif status == 200:
            self._answer(200, {"ETag": etag_of(body)})
        else:
            self._refuse(status)

    def do_HEAD(self) -> None:
        state = self.server.state
        if state.head != 200 or self.path not in state.objects:
            self._answer(404 if state.head == 200 else state.head)
        else:
            self._describe()

    def do_GET(self) -> None:
        if self.path in self.server.state.objects:
            self.wfile.write(self._describe())
        else:
            self._refuse(404)

    def _describe(self) -> bytes:
        body, headers = self.server.state.objects[self.path]
        kept = {name: text for name, text in headers.items() if name.startswith("x-amz-meta-")}
        self._answer(200, kept | {"ETag": etag_of(body)}, length=len(body))
        return body

    def _refuse(self, status: int) -> None:
        body = f"<Error><Code>{_REFUSALS[status]}</Code><Message>no</Message></Error>".encode()
        self._answer(status, length=len(body))
        self.wfile.write(body)

    def _answer(self, status: int, headers: dict[str, str] | None = None, *, length: int = 0) -> None:
        self.send_response(status)
        for name, text in {"Content-Length": str(length), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def fake_s3(*faults: str | int | None, head: int = 200) -> Iterator[FakeS3]:
    state = FakeS3(list(faults), head)
    with _Server(state) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
