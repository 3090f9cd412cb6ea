"""What the API does itself, counted: a pure ASGI middleware, so that streams stay streams."""

import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_NO_ROUTE = "none"  # paths that lead nowhere are made by strangers: never a label
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Meters:
    """Of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "photabatch_http_requests",
            "Requests answered by this process.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "photabatch_http_request_seconds",
            "From the request's head to the head of its answer; reading the body is in it, sending a stream is not.",
            ("method", "route"),
            buckets=_BUCKETS_S,
            registry=registry,
        )


class Metering:
    """Counts a request when its answer begins, under the template of its route."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(scope, message["status"], time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, counted)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", _NO_ROUTE)
        self._meters.requests.labels(method, route, str(status)).inc()
        self._meters.seconds.labels(method, route).observe(seconds)
