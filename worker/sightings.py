"""What this process sees of the upstream, told about once a second; and what the fleet knows, read back."""

import asyncio
import contextlib
import logging
import time
from dataclasses import replace

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from models.dispatch import CHANNEL
from models.health import Report, UpstreamState, read_upstream_async, report

log = logging.getLogger(__name__)

_FLUSH_S = 1.0
_NUDGE_S = 0.1  # NOTIFY serialises commits: ten a second a process, outside any transition
FIRST_LOOK_S = 2.0  # before anything is known of an operation's latency


class Sightings:
    """Counts since the last flush, and the newest known state of the upstream."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._seen = Report()
        self._urgent = asyncio.Event()
        self._nudge = asyncio.Event()
        self._read_at = time.monotonic()
        self.upstream = UpstreamState()
        self.clock_off_s = 0.0  # how far the clock of this host is ahead of the database's

    def ok(self) -> None:
        self._seen = replace(self._seen, ok=self._seen.ok + 1)

    def failed(self) -> None:
        self._seen = replace(self._seen, failed=self._seen.failed + 1)

    def throttled(self, retry_after_s: float | None) -> None:
        longest = max(self._seen.retry_after_s or 0.0, retry_after_s or 0.0) or None
        self._seen = replace(self._seen, throttled=self._seen.throttled + 1, retry_after_s=longest)
        self._urgent.set()

    def refused(self, reason: str) -> None:
        """The gate is closed: no credit, or a key that is not accepted."""
        self._seen = replace(self._seen, closed_reason=reason)
        self._urgent.set()

    def looked(self, operation: str, age_s: float, *, is_done: bool) -> None:
        """A poll of a job of this age found its result, or did not."""
        self._seen.looks.setdefault(operation, []).append((round(age_s, 2), is_done))

    def likely_at_s(self, operation: str) -> float:
        """Seconds after acceptance at which a result is likely."""
        return self.upstream.latency_s.get(operation, FIRST_LOOK_S)

    @property
    def closed_for_s(self) -> float:
        """Seconds that the gate stays closed, by what is known here; 0 when open."""
        if not self.upstream.closed_reason:
            return 0.0
        return max(0.0, self.upstream.closed_for_s - (time.monotonic() - self._read_at))

    def nudge(self) -> None:
        """A slot is free, or something is due: the dispatcher should look."""
        self._nudge.set()

    async def run(self) -> None:
        """Until cancelled: flush, read back, nudge."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._flush_always())
            group.create_task(self._nudge_always())

    async def _flush_always(self) -> None:
        while True:
            try:
                await self.flush()
            except (SQLAlchemyError, OSError) as error:
                log.warning("upstream state not exchanged: %s", type(error).__name__)
            await asyncio.sleep(_NUDGE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_S):  # wait_for of Python 3.11 can swallow a cancellation
                    await self._urgent.wait()
            self._urgent.clear()

    async def flush(self) -> None:
        seen, self._seen = self._seen, Report()
        async with self._engine.begin() as connection:
            if seen != Report():
                await report(connection, seen)
            self.upstream = await read_upstream_async(connection)
        self._read_at = time.monotonic()
        self.clock_off_s = time.time() - self.upstream.told_at
        if seen.closed_reason or seen.throttled:
            self.nudge()

    async def _nudge_always(self) -> None:
        while True:
            await self._nudge.wait()
            self._nudge.clear()
            try:
                async with self._engine.begin() as connection:
                    await connection.execute(text(f"NOTIFY {CHANNEL}"))
            except (SQLAlchemyError, OSError) as error:
                log.warning("dispatcher not nudged: %s", type(error).__name__)
            await asyncio.sleep(_NUDGE_S)
