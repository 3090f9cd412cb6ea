"""A webhook receiver on loopback: what a user's own would do, in a few lines."""

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

_ENDS = frozenset({"batch.completed", "batch.completed_with_errors", "batch.failed", "batch.cancelled"})


class Receiver:
    """Collects events whose signature is valid; answers 401 to others."""

    def __init__(self, secret: str) -> None:
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(Webhook(secret), self._events))
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/photabatch"

    def wait_for_end(self, seconds: float) -> dict[str, Any] | None:
        """The event that tells of a batch's end; None if it does not come within the time."""
        try:
            while (event := self._events.get(timeout=seconds))["type"] not in _ENDS:
                pass
        except queue.Empty:
            return None
        return event

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(webhook: Webhook, events: "queue.Queue[dict[str, Any]]") -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            try:
                webhook.verify(body, dict(self.headers))
            except WebhookVerificationError:
                self.send_response(401)
            else:
                self.send_response(204)
                events.put(json.loads(body))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: the demo tells what matters."""

    return Handler
