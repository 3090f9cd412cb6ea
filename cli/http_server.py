"""uvicorn under our rules: quiet, and gone within a bounded time."""

import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.app import new_app
from cli.stopping import LastResort
from clients.open_files import allow_open_files
from settings import Settings

GRACE_S = 8  # for requests in hand at the end; whoever supervises kills after 10
_LAST_S = 9.0  # for everything: a request that waits for a frozen database keeps its thread, and that the process

_FILES = 4096  # streams that are followed, above all; many systems allow a process 1024 by default


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self._last_resort = LastResort(_LAST_S)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._last_resort.begin()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Streams end by themselves once `is_stopping`: they need not use up the grace."""
        self._app.state.is_stopping = True
        await super().shutdown(sockets)


def serve(settings: Settings, bound: socket.socket) -> None:
    """Until SIGTERM or SIGINT. Requests in hand are finished, within the grace."""
    allow_open_files(_FILES)
    app = new_app(settings)
    config = uvicorn.Config(
        app,
        log_config=None,  # as the command has set up
        access_log=False,  # /metrics tells
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(config, app)
    # uvicorn raises the signal again when all is done: then it has nothing left to do
    signal.signal(signal.SIGTERM, lambda *_: server.handle_exit(signal.SIGTERM, None))
    server.run(sockets=[bound])
