"""Calls over a connection, tried again as `_retries.py` says: once blocking, once asynchronous, else the same.

The key is put on each request to the API's own address, never on the httpx client, and no redirect is followed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx

from photabatch._answers import Reader, T, read
from photabatch._calls import Call
from photabatch._retries import Retry, Tries
from photabatch._settings import TIMEOUTS, Settings
from photabatch.errors import ConnectionFailed

Timeout = float | httpx.Timeout | None


def request_of(call: Call, settings: Settings, timeouts: httpx.Timeout) -> dict[str, Any]:
    """What `build_request` takes, but for the body."""
    length = None if call.body is None else call.body.length
    headers = {**settings.headers(), **call.headers} | ({} if length is None else {"Content-Length": str(length)})
    return {
        "method": call.method,
        "url": settings.url + call.path,
        "params": call.query or None,
        "headers": headers,
        "timeout": _timeouts_of(call, timeouts),
    }


def lost(call: Call, error: httpx.RequestError) -> ConnectionFailed:
    """An answer that had begun and did not end."""
    return ConnectionFailed(f"the answer to {call.method} {call.path} broke off: {type(error).__name__}: {error}")


def _timeouts_of(call: Call, timeouts: httpx.Timeout) -> httpx.Timeout:
    read_s = call.read_s
    if read_s is None and timeouts.read is not None:
        read_s = max(timeouts.read, call.least_read_s)
    return httpx.Timeout(connect=timeouts.connect, read=read_s, write=timeouts.write, pool=timeouts.pool)


class Session:
    """`http` is closed with the session if it was made here."""

    def __init__(self, settings: Settings, timeout: Timeout, http: httpx.Client | None, retry: Retry) -> None:
        self._is_own = http is None
        self._http = http or httpx.Client(timeout=TIMEOUTS)
        self._settings = settings
        self._timeouts = self._http.timeout if timeout is None else httpx.Timeout(timeout)
        self.retry = retry

    def ask(self, call: Call, reader: Reader[T], *, retry: Retry | None = None) -> T:
        """The answer of a call, read. Raise ApiError, ConnectionFailed."""
        return read(self._send(call, retry or self.retry, is_streamed=False), reader)

    @contextmanager
    def stream(self, call: Call, *, retry: Retry | None = None) -> Iterator[httpx.Response]:
        """The answer of a call, its body still to come. Raise ApiError, ConnectionFailed also while it is read."""
        response = self._send(call, retry or self.retry, is_streamed=True)
        try:
            yield response
        except httpx.RequestError as error:
            raise lost(call, error) from None
        finally:
            response.close()

    def close(self) -> None:
        if self._is_own:
            self._http.close()

    def _send(self, call: Call, retry: Retry, *, is_streamed: bool) -> httpx.Response:
        tries = Tries(call, retry)
        while True:
            try:
                response = self._once(call, is_streamed=is_streamed)
            except httpx.RequestError as error:
                pause = tries.pause_after(error)
            else:
                if response.is_success:
                    return response
                pause = tries.pause_after(response)
            time.sleep(pause)

    def _once(self, call: Call, *, is_streamed: bool) -> httpx.Response:
        body = None if call.body is None else call.body.pieces()
        request = self._http.build_request(**request_of(call, self._settings, self._timeouts), content=body)
        response = self._http.send(request, stream=True, auth=None, follow_redirects=False)
        try:
            if not is_streamed or not response.is_success:
                response.read()
        except BaseException:
            response.close()
            raise
        return response


class AsyncSession:
    """As `Session`, for asyncio."""

    def __init__(self, settings: Settings, timeout: Timeout, http: httpx.AsyncClient | None, retry: Retry) -> None:
        self._is_own = http is None
        self._http = http or httpx.AsyncClient(timeout=TIMEOUTS)
        self._settings = settings
        self._timeouts = self._http.timeout if timeout is None else httpx.Timeout(timeout)
        self.retry = retry

    async def ask(self, call: Call, reader: Reader[T], *, retry: Retry | None = None) -> T:
        return read(await self._send(call, retry or self.retry, is_streamed=False), reader)

    @asynccontextmanager
    async def stream(self, call: Call, *, retry: Retry | None = None) -> AsyncIterator[httpx.Response]:
        response = await self._send(call, retry or self.retry, is_streamed=True)
        try:
            yield response
        except httpx.RequestError as error:
            raise lost(call, error) from None
        finally:
            await response.aclose()

    async def close(self) -> None:
        if self._is_own:
            await self._http.aclose()

    async def _send(self, call: Call, retry: Retry, *, is_streamed: bool) -> httpx.Response:
        tries = Tries(call, retry)
        while True:
            try:
                response = await self._once(call, is_streamed=is_streamed)
            except httpx.RequestError as error:
                pause = tries.pause_after(error)
            else:
                if response.is_success:
                    return response
                pause = tries.pause_after(response)
            await asyncio.sleep(pause)

    async def _once(self, call: Call, *, is_streamed: bool) -> httpx.Response:
        body = None if call.body is None else call.body.apieces()
        request = self._http.build_request(**request_of(call, self._settings, self._timeouts), content=body)
        response = await self._http.send(request, stream=True, auth=None, follow_redirects=False)
        try:
            if not is_streamed or not response.is_success:
                await response.aread()
        except BaseException:
            await response.aclose()
            raise
        return response
