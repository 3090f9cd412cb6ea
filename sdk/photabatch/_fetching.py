"""Pictures from their presigned addresses into a folder, without the API key: once blocking, once asynchronous."""

import asyncio
import time
from pathlib import Path

import httpx

from photabatch._answers import retry_after_s
from photabatch._downloads import Partial, Target, Wanted, failure
from photabatch._retries import Pauses, Retry
from photabatch._settings import TIMEOUTS
from photabatch.errors import DownloadFailed

DOWNLOADS_AT_ONCE = 8
PIECE_BYTES = 1024 * 1024

_PASSING = (429, 500, 502, 503, 504)  # S3 asks for a second try after 500, too
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "photabatch-python"}
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, DownloadFailed)


class Fetcher:
    """`http` is closed with the fetcher if it was made here."""

    def __init__(self, http: httpx.Client | None, retry: Retry) -> None:
        self._is_own = http is None
        self._http = http or httpx.Client(timeout=TIMEOUTS)
        self._retry = retry

    def fetch(self, target: Target, wanted: Wanted) -> Path:
        """Where the output is now. Raise DownloadFailed, OSError."""
        if (path := target.existing(wanted)) is not None:
            return path
        tries = _Tries(wanted, self._retry)
        while True:
            try:
                with target.partial(wanted) as partial:
                    self._stream(partial)
                    return target.place(partial)
            except _FAILURES as error:
                pause = tries.pause_after(error)
            time.sleep(pause)

    def close(self) -> None:
        if self._is_own:
            self._http.close()

    def _stream(self, partial: Partial) -> None:
        url = _address_of(partial.wanted)
        with self._http.stream("GET", url, headers=_HEADERS, follow_redirects=True) as response:
            response.raise_for_status()
            for piece in response.iter_raw(PIECE_BYTES):
                partial.write(piece)
        partial.verify()


class AsyncFetcher:
    """As `Fetcher`, for asyncio; files are written in threads."""

    def __init__(self, http: httpx.AsyncClient | None, retry: Retry) -> None:
        self._is_own = http is None
        self._http = http or httpx.AsyncClient(timeout=TIMEOUTS)
        self._retry = retry

    async def fetch(self, target: Target, wanted: Wanted) -> Path:
        if (path := await asyncio.to_thread(target.existing, wanted)) is not None:
            return path
        tries = _Tries(wanted, self._retry)
        while True:
            try:
                with target.partial(wanted) as partial:
                    await self._stream(partial)
                    return await asyncio.to_thread(target.place, partial)
            except _FAILURES as error:
                pause = tries.pause_after(error)
            await asyncio.sleep(pause)

    async def close(self) -> None:
        if self._is_own:
            await self._http.aclose()

    async def _stream(self, partial: Partial) -> None:
        url = _address_of(partial.wanted)
        async with self._http.stream("GET", url, headers=_HEADERS, follow_redirects=True) as response:
            response.raise_for_status()
            async for piece in response.aiter_raw(PIECE_BYTES):
                await asyncio.to_thread(partial.write, piece)
        partial.verify()


class _Tries:
    """The tries of one output so far."""

    def __init__(self, wanted: Wanted, retry: Retry) -> None:
        self._wanted = wanted
        self._pauses = Pauses(retry)

    def pause_after(self, error: Exception) -> float:
        """Seconds until the next try. Raise DownloadFailed if there is none; it never tells the address, whose
        signature is as good as a key.
        """
        pause = self._pauses.next_s(_retry_after_s(error))
        if pause is not None and _is_passing(error):
            return pause
        if isinstance(error, DownloadFailed):
            raise error
        raise failure(self._wanted, _reason(error)) from None


def _address_of(wanted: Wanted) -> str:
    if not wanted.output.url:
        raise failure(wanted, "there is no address to download it from")
    return wanted.output.url


def _is_passing(error: Exception) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _PASSING
    return not isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol)


def _retry_after_s(error: Exception) -> float | None:
    if not isinstance(error, httpx.HTTPStatusError):
        return None
    return retry_after_s(error.response.headers.get("retry-after", ""))


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"storage answered {error.response.status_code}"
    return f"no answer from storage ({type(error).__name__})"
