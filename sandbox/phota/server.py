"""Serving the simulator over HTTP."""

import asyncio
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.phota.app import create_app
from sandbox.phota.config import SimulatorConfig


def serve(config: SimulatorConfig, *, on_exit: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGINT or SIGTERM. Prints one line with the address once it listens; raise OSError if it cannot.

    `on_exit`: called by the handler of those signals.
    """
    listener = socket.create_server((config.host, config.port), backlog=2_048)
    host, port = listener.getsockname()[:2]
    settings = uvicorn.Config(
        create_app(config),
        http=_Protocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
    greeting = f"simulated Phota API listening on http://{host}:{port}/v1/phota"
    _Server(settings, greeting, on_exit).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, greeting: str, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._greeting = greeting
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._on_exit()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            sys.stdout.write(self._greeting + "\n")
            sys.stdout.flush()


class _Protocol(H11Protocol):
    """Lets the application see its transport: a fault must be able to cut the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = _with_transport(self.app, transport)


def _with_transport(app: ASGIApp, transport: asyncio.Transport) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        scope["transport"] = transport
        await app(scope, receive, send)

    return wrapped
