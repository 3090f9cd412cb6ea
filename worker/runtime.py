"""One event loop in a thread of its own, with one set of clients: the part of a worker process that works.

Celery's threads wait here; so long calls and long uploads never block other chunks of the process.
"""

import asyncio
import contextlib
import logging
import os
import threading
import uuid
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import uvloop

from clients.http import new_http_client
from clients.image_inspector import ImageInspector
from clients.open_files import allow_open_files
from clients.phota import CALL_SECONDS, PhotaClient
from clients.storage import Storage
from models.claims import record
from models.engine import new_async_engine
from models.states import Stage
from models.workers import session_name
from settings import Settings
from worker.addresses import callback_url, reaches_private_hosts, reaches_storage
from worker.chunks import Chunks
from worker.kit import Kit
from worker.leases import Leases
from worker.notify import CONNECTIONS, Pumps
from worker.recorder import Recorder
from worker.sightings import Sightings

log = logging.getLogger(__name__)

_CONNECTIONS = 4  # to Postgres: one writes transitions, the others claim and keep
_IMAGES = 16  # fetched at once from hosts that Phota does not reach
_BLOCKING = 64  # threads; what is stored and fetched (40 at once) may all hang in a silent S3, names and links must not
_FILES = 4096  # connections above all: receivers, Phota, S3; many systems allow a process 1024 by default
_HELD_UP_S = 5.0  # a chunk that hangs for longer, as before a silent S3, goes on without its thread: others wait for it
_STOP_S = 8.0  # to hand back what is in hand; whoever waits for the process gives it 10 s
_PATIENCE_S = 4.0  # of that, for calls that are under way
_SYNC_STOP_S = CALL_SECONDS + 10.0  # a synchronous call is paid for: it is waited for, not handed back
FAILED = 5  # exit code: temporary trouble, try again (docs/contract.md)


class Runtime:
    """Started once per process, after fork."""

    def __init__(self, settings: Settings) -> None:
        self.id = uuid.uuid4().hex[:12]
        self._settings = settings
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="runtime", daemon=True)
        self._work: set[asyncio.Task[None]] = set()
        self._background: list[asyncio.Task[None]] = []
        self._is_stopping = False

    def start(self) -> None:
        allow_open_files(_FILES)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._boot(), self._loop).result(timeout=30)

    async def _boot(self) -> None:
        self._loop.set_default_executor(ThreadPoolExecutor(_BLOCKING, "blocking"))
        settings = self._settings
        assert settings.database_url is not None, "checked by the command line"  # noqa: S101
        assert settings.phota_root is not None, "checked by the command line"  # noqa: S101
        self._engine = new_async_engine(
            settings.database_url.get_secret_value(), connections=_CONNECTIONS, name=session_name(self.id)
        )
        self._http = new_http_client(connections=settings.threads * settings.chunk)
        self._webhooks = new_http_client(connections=CONNECTIONS, allowed_hosts=settings.allowed_hosts)
        self._images = new_http_client(connections=_IMAGES, allowed_hosts=settings.allowed_hosts)
        self._inspector = ImageInspector()
        sightings = Sightings(self._engine)
        leases = Leases(self._engine)
        self._kit = Kit(
            phota=PhotaClient(self._http, base_url=settings.phota_root, api_key=settings.phota_key),
            storage=Storage.from_settings(settings),
            webhooks=self._webhooks,
            inspector=self._inspector,
            sightings=sightings,
            is_sync=settings.phota_mode == "sync",
            spare_bucket=settings.s3_bucket,
            sends_links=reaches_storage(settings),
            allowed_hosts=tuple(settings.allowed_hosts),
            callback_url=callback_url(settings),
            images=None if reaches_private_hosts(settings) else self._images,
            failpoint=settings.failpoint,
        )
        recorder = Recorder(self._engine, record, failpoint=settings.failpoint)
        self._chunks = Chunks(self._engine, self._kit, recorder, leases)
        self._pumps = Pumps(self._engine, self._kit)
        self._background = [self._loop.create_task(sightings.run()), self._loop.create_task(leases.run())]

    def work(self, stage: Stage, ids: Sequence[uuid.UUID]) -> None:
        """Block the calling thread until every job of the chunk has moved on or was handed back, for 5 s at most.

        Endpoints are only taken in hand: their deliveries go on in the background. Synchronous calls are waited for.
        """
        coroutine = self._pumps.start(ids) if stage is Stage.NOTIFY else self._track(self._chunks.work(stage, ids))
        self._wait(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def _wait(self, future: Future[None]) -> None:
        try:
            future.result(None if self._kit.is_sync else _HELD_UP_S)
        except TimeoutError:
            if future.done():  # the chunk's own
                raise
            log.info("a chunk takes long and goes on by itself")
        except CancelledError:
            log.info("chunk handed back: the worker is stopping")

    async def _track(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if self._is_stopping:
            coroutine.close()
            raise CancelledError
        task = asyncio.ensure_future(coroutine)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        await task

    def call_back(self, callback: Callable[[], None]) -> None:
        """From the event loop, once it comes to it."""
        self._loop.call_soon_threadsafe(callback)

    def turn(self) -> None:
        """Block the calling thread for one turn of the event loop."""
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result()

    def end(self, why: str, can_hand_back: bool) -> None:
        """The whole process, as one that failed; first what is in hand is given back, where the event loop can."""
        log.critical("ending, to be started again: %s", why)
        if can_hand_back:
            self.hand_back(code=FAILED)
            with contextlib.suppress(Exception):
                self.stop()
        os._exit(FAILED)

    def hand_back(self, *, code: int = 0) -> None:
        """Claim nothing any more; give back what is in hand (synchronous calls are waited for).

        Whatever hangs, be it the database, ends with the process: leases cover what was not written.
        """
        last = threading.Timer(_SYNC_STOP_S if self._kit.is_sync else _STOP_S, os._exit, (code,))
        last.daemon = True
        last.start()
        asyncio.run_coroutine_threadsafe(self._hand_back(), self._loop)

    async def _hand_back(self) -> None:
        if not self._is_stopping:
            self._stopping = self._loop.create_task(self._stop_work())
        self._is_stopping = True

    async def _stop_work(self) -> None:
        """What is under way may end, so that no call is made twice; what takes longer is handed back."""
        pumps = self._loop.create_task(self._pumps.stop())
        if self._work and not self._kit.is_sync:
            await asyncio.wait(self._work, timeout=_PATIENCE_S)
            for task in self._work:
                task.cancel()
        await pumps

    def stop(self) -> None:
        """Wait for the work to end, within bounds, and close everything."""
        try:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=_SYNC_STOP_S)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=2)

    async def _close(self) -> None:
        await self._hand_back()
        if self._work:
            await asyncio.wait(self._work, timeout=_SYNC_STOP_S if self._kit.is_sync else _STOP_S)
        await self._stopping
        for task in self._background:
            task.cancel()
        await asyncio.wait(self._background, timeout=2)
        await asyncio.to_thread(self._inspector.close)
        await self._http.aclose()
        await self._webhooks.aclose()
        await self._images.aclose()
        await self._engine.dispose()
