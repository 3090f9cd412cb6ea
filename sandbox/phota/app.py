"""The simulator as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from httpx_aiohttp import HttpxAiohttpClient
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from sandbox.phota import control, routes
from sandbox.phota.config import SimulatorConfig
from sandbox.phota.errors import PhotaError, handle
from sandbox.phota.filler import filler
from sandbox.phota.gate import Gate
from sandbox.phota.simulator import Simulator


def create_app(config: SimulatorConfig) -> Starlette:
    """Nothing is opened before the application's lifespan begins."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if config.size is not None:
            filler(config.size, "jpg")
        async with _client() as client:
            app.state.simulator = Simulator(config, client)
            yield
            await app.state.simulator.close()

    return Starlette(
        routes=[*routes.ROUTES, *control.ROUTES],
        middleware=[Middleware(Gate)],
        exception_handlers={PhotaError: handle, HTTPException: handle, Exception: handle},
        lifespan=lifespan,
    )


def _client() -> httpx.AsyncClient:
    """For inputs and callbacks; a proxy of the environment would not reach loopback."""
    client: httpx.AsyncClient = HttpxAiohttpClient(
        timeout=httpx.Timeout(20, connect=5), max_redirects=3, trust_env=False
    )
    return client
