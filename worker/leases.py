"""What this process has in hand, and the heartbeat that keeps it."""

import asyncio
import logging
import uuid

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from models.claims import HEARTBEAT_S, ClaimedJob, keep

log = logging.getLogger(__name__)


class Leases:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._held: dict[uuid.UUID, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, job: ClaimedJob) -> None:
        self._held[job.id] = job.version

    def drop(self, job: ClaimedJob) -> None:
        """Unless a later claim of the same job has taken its place here."""
        if self._held.get(job.id) == job.version:
            del self._held[job.id]

    async def run(self) -> None:
        """Until cancelled: prolong everything held, in one statement a beat."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if not self._held:
                continue
            try:
                async with self._engine.begin() as connection:
                    await keep(connection, dict(self._held))
            except (SQLAlchemyError, OSError) as error:
                log.warning("heartbeat of %d jobs failed: %s", len(self._held), type(error).__name__)
