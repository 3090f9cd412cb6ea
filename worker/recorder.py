"""Transitions written together: while one commit is under way the next ones gather."""

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from clients.failpoints import pass_point
from models.engine import DATABASE_AWAY

log = logging.getLogger(__name__)

_MOST = 200  # moves in one statement


class _Move(Protocol):
    @property
    def id(self) -> uuid.UUID: ...


MoveT = TypeVar("MoveT", bound=_Move)


class Recorder(Generic[MoveT]):
    """One per worker process and kind of move; at most one commit at a time."""

    def __init__(
        self,
        engine: AsyncEngine,
        record: Callable[[AsyncConnection, Sequence[MoveT]], Awaitable[set[uuid.UUID]]],
        *,
        failpoint: str | None = None,
    ) -> None:
        """`record` writes moves in one statement and tells the ids of those that took."""
        self._engine = engine
        self._record = record
        self._failpoint = failpoint
        self._waiting: deque[tuple[MoveT, asyncio.Future[bool]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def write(self, move: MoveT) -> bool:
        """Whether the move took; False means that its row had moved on without this worker.

        Does not give up while the database is away: the fence makes a late write harmless, and what a call has cost
        must not be forgotten. After a commit whose answer was lost a second try may say False though the first took.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((move, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._drain())
        return await done

    async def _drain(self) -> None:
        while self._waiting:
            batch = self._next()
            try:
                await self._commit(batch)
            except Exception as error:
                await self._one_by_one(batch, error)

    def _next(self) -> list[tuple[MoveT, asyncio.Future[bool]]]:
        """What one statement writes: a row once, or who has lost it would be told that its write took, outputs and all.

        A process may have claimed a row anew while an earlier claim of its own, whose lease had run out, still worked.
        """
        batch: dict[uuid.UUID, tuple[MoveT, asyncio.Future[bool]]] = {}
        while self._waiting and len(batch) < _MOST and self._waiting[0][0].id not in batch:
            move, done = self._waiting.popleft()
            batch[move.id] = (move, done)
        return list(batch.values())

    async def _commit(self, batch: list[tuple[MoveT, asyncio.Future[bool]]]) -> None:
        pause_s = 0.1
        while True:
            try:
                async with self._engine.begin() as connection:
                    took = await self._record(connection, [move for move, _ in batch])
                    pass_point("in_commit", self._failpoint)
                break
            except DATABASE_AWAY as error:
                log.warning("database away, %d transitions wait: %s", len(batch), type(error).__name__)
                await asyncio.sleep(pause_s)
                pause_s = min(2.0, pause_s * 2)
        for move, done in batch:
            if not done.done():
                done.set_result(move.id in took)

    async def _one_by_one(self, batch: list[tuple[MoveT, asyncio.Future[bool]]], error: Exception) -> None:
        """One row that the database refuses must not take the others with it."""
        if len(batch) == 1:
            log.error("transition refused by the database", exc_info=error)
            if not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for item in batch:
            try:
                await self._commit([item])
            except Exception as refused:
                await self._one_by_one([item], refused)
