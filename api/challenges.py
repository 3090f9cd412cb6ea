"""Routes that ask for a key as HTTP Basic does."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from api.problems import Problem


class Challenging(APIRoute):
    """Browsers, and senders that hold the key in their URL, send it only when asked; elsewhere a challenge would open a
    browser's dialog over a page that is shown."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def challenging(request: Request) -> Response:
            try:
                return await handler(request)
            except Problem as problem:
                if problem.status == HTTPStatus.UNAUTHORIZED:
                    problem.headers["WWW-Authenticate"] = 'Basic realm="photabatch", charset="UTF-8"'
                raise

        return challenging
