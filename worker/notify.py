"""Stage `notify`: whoever holds an endpoint pumps its deliveries, beside whatever else the process does.

A message is a hint that comes back at once: slow receivers never block the threads that jobs need.
"""

import asyncio
import uuid
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from clients.failpoints import pass_point
from models.endpoint_leases import EndpointLease, claim_endpoints, decline_endpoints
from models.outbox import DeliveryMove, record_deliveries
from worker.kit import Kit
from worker.pump import IN_FLIGHT, Pump
from worker.recorder import Recorder

PUMPS = 256  # endpoints a process holds at once
CONNECTIONS = PUMPS * IN_FLIGHT  # to receivers: no endpoint ever waits for another's
_PATIENCE_S = 4.0  # for what is in flight when the process stops
_CUT_S = 3.0  # for the release of what did not end by then


class Pumps:
    """Those of this process."""

    def __init__(self, engine: AsyncEngine, kit: Kit, *, most: int = PUMPS) -> None:
        self._engine = engine
        self._kit = kit
        self._most = most
        self._recorder: Recorder[DeliveryMove] = Recorder(engine, record_deliveries, failpoint=kit.failpoint)
        self._running: dict[asyncio.Task[None], Pump] = {}
        self._claiming = asyncio.Lock()  # or several messages would fill the same room
        self._is_stopping = False

    def __len__(self) -> int:
        return len(self._running)

    async def start(self, ids: Sequence[uuid.UUID]) -> None:
        """Hold those that still wait and pump them in the background; what there is no room for is due in a second."""
        async with self._claiming:
            room = 0 if self._is_stopping else self._most - len(self._running)
            async with self._engine.begin() as connection:
                leases = await claim_endpoints(connection, ids[:room])
                if ids[room:]:
                    await decline_endpoints(connection, ids[room:])
            if leases:
                pass_point("after_endpoint_claim", self._kit.failpoint)
            for lease in leases:
                self._run(lease)

    def _run(self, lease: EndpointLease) -> None:
        pump = Pump(lease, self._engine, self._kit, self._recorder)
        task = asyncio.create_task(pump.run())
        self._running[task] = pump
        task.add_done_callback(lambda done: self._running.pop(done, None))

    async def stop(self, *, patience_s: float = _PATIENCE_S) -> None:
        """Begin nothing more, let what is in flight end, and release every endpoint, due at once."""
        async with self._claiming:
            self._is_stopping = True
        for pump in self._running.values():
            pump.stop()
        if self._running:
            await asyncio.wait(list(self._running), timeout=patience_s)
        cut = list(self._running)
        for task in cut:
            task.cancel()
        if cut:
            await asyncio.wait(cut, timeout=_CUT_S)
