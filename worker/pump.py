"""One endpoint's deliveries, round after round, while some are due and the receiver takes them."""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from clients.failpoints import pass_point
from clients.output_links import add_links
from clients.webhooks import Answer, deliver
from models.endpoint_leases import (
    EndpointLease,
    HeldEndpoint,
    disable_endpoint,
    fail_pending,
    keep_endpoint,
    note_outcomes,
    release_endpoint,
)
from models.engine import DATABASE_AWAY
from models.events import DIGEST, Events, read_events
from models.outbox import ClaimedDelivery, DeliveryMove, claim_deliveries
from worker.kit import Kit
from worker.messages import Message, as_messages, outputs_of
from worker.receivers import BROKEN, Tally, after_answer, pause_s
from worker.recorder import Recorder

log = logging.getLogger(__name__)

IN_FLIGHT = 4  # docs/contract.md: at most so many an endpoint
_ROUND = 64  # deliveries claimed at once; a quick receiver takes them in a few tenths of a second
_BEGIN_S = 20.0  # of a round in which deliveries begin; each has 15 s, and the lease covers both
_DIGEST_S = 1.0  # docs/contract.md: between two digests
_TROUBLE_S = 5.0  # after a fault of our own
_RELEASE_S = 2.0  # to give an endpoint back; a process that stops has no more
_Result = TypeVar("_Result")


class LeaseLost(Exception):  # noqa: N818
    """Another worker has the endpoint, or may have it at any moment."""


class Pump:
    """For an endpoint that this process holds; it ends with the endpoint released or its lease lost."""

    def __init__(self, lease: EndpointLease, engine: AsyncEngine, kit: Kit, recorder: Recorder[DeliveryMove]) -> None:
        self._lease = lease
        self._engine = engine
        self._kit = kit
        self._recorder = recorder
        self._open: dict[uuid.UUID, Message] = {}  # claimed in this round, nothing recorded yet
        self._is_stopping = False
        self._looked_at = 0.0  # monotonic: when the endpoint was looked at

    def stop(self) -> None:
        """Begin nothing more; what is in flight may end."""
        self._is_stopping = True

    async def run(self) -> None:
        """Until nothing is due, the receiver needs a pause, the lease is lost or the process stops."""
        due_s: float | None = None
        try:
            while due_s is None:
                due_s = await self._go_round()
        except LeaseLost:
            log.warning("endpoint %s: another worker has it", self._lease.id)
        except Exception:
            log.exception("endpoint %s", self._lease.id)
            due_s = _TROUBLE_S
        finally:
            await self._release(due_s or 0.0)
            self._kit.sightings.nudge()

    async def _go_round(self) -> float | None:
        """After how many seconds the endpoint may be due again; None to go on."""
        endpoint, messages = await self._begin()
        if not messages:
            return 0.0
        tally = Tally()
        waiting = deque(messages)
        ends_at = time.monotonic() + _BEGIN_S
        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(IN_FLIGHT, len(messages))):
                lanes.create_task(self._lane(waiting, endpoint, tally, ends_at))
        rest_s = _DIGEST_S if messages[0].type == DIGEST else 0.0
        return await self._conclude(endpoint, tally, rest_s)

    async def _begin(self) -> tuple[HeldEndpoint, list[Message]]:
        """The endpoint as it is now, and what it is to be told next. Raise LeaseLost."""
        endpoint, claimed, events = await self._patiently(self._claim)
        self._looked_at = time.monotonic()
        messages = as_messages(claimed, events) if claimed else []
        self._open = {message.id: message for message in messages}
        return endpoint, messages

    async def _claim(self, connection: AsyncConnection) -> tuple[HeldEndpoint, list[ClaimedDelivery], Events]:
        endpoint = await keep_endpoint(connection, self._lease)
        if endpoint is None:
            raise LeaseLost
        if endpoint.is_disabled:  # while an event was being written
            await fail_pending(connection, self._lease.id)
        if endpoint.is_disabled or self._is_stopping:
            return endpoint, [], {}
        limit = IN_FLIGHT if endpoint.is_failing else _ROUND
        claimed = await claim_deliveries(connection, self._lease.id, limit=limit)
        return endpoint, claimed, await read_events(connection, claimed)

    async def _lane(self, waiting: deque[Message], endpoint: HeldEndpoint, tally: Tally, ends_at: float) -> None:
        """One call after the other; the lanes of a round share what waits."""
        while waiting and tally.is_well and not self._is_stopping and time.monotonic() < ends_at:
            message = waiting.popleft()
            answer = await self._tell(message, endpoint)
            tally.note(answer)
            await self._record(message, answer)

    async def _tell(self, message: Message, endpoint: HeldEndpoint) -> Answer:
        try:
            if outputs := outputs_of(message):
                await asyncio.to_thread(add_links, self._kit.storage, outputs)
            answer = await deliver(
                self._kit.webhooks,
                endpoint.url,
                secrets=endpoint.secrets,
                message_id=f"msg_{message.id.hex}",
                event_type=message.type,
                timestamp=message.timestamp,
                sent_at=endpoint.looked_at + timedelta(seconds=time.monotonic() - self._looked_at),
                data=message.data,
            )
            pass_point("in_delivery", self._kit.failpoint)
        except Exception:
            log.exception("delivery %s", message.id)
            return BROKEN
        return answer

    async def _record(self, message: Message, answer: Answer) -> None:
        move = after_answer(message, answer, self._kit.random_source)
        written = asyncio.ensure_future(self._recorder.write(move))
        try:
            await asyncio.shield(written)
        finally:  # also when the process stops: the receiver has it
            await written
        pass_point("after_delivery", self._kit.failpoint)
        self._open.pop(message.id, None)

    async def _conclude(self, endpoint: HeldEndpoint, tally: Tally, rest_s: float) -> float | None:
        """Write down how the receiver did, and how long it is left alone; None: not at all."""
        failures, is_hopeless = 0, False
        if tally.failed or (tally.took and endpoint.is_failing):
            health = await self._patiently(
                lambda connection: note_outcomes(connection, self._lease, took=tally.took, failed=tally.failed)
            )
            if health is None:
                raise LeaseLost
            failures, is_hopeless = health.failures, health.is_hopeless
        if tally.is_gone or is_hopeless:
            await self._disable(endpoint, "gone" if tally.is_gone else "failing")
            return 0.0
        trouble_s = _TROUBLE_S if tally.broken else 0.0
        return max(rest_s, tally.rest_s, trouble_s, pause_s(failures, self._kit.random_source)) or None

    async def _disable(self, endpoint: HeldEndpoint, reason: str) -> None:
        async def work(connection: AsyncConnection) -> bool:
            is_first = await disable_endpoint(connection, self._lease, reason=reason)
            await fail_pending(connection, self._lease.id)
            return is_first

        if await self._patiently(work):
            # the host only: the rest of a URL may be a secret
            host = urlsplit(endpoint.url).hostname
            log.error("webhook endpoint disabled: %s at %s, %s", self._lease.id, host, reason)

    async def _release(self, due_s: float) -> None:
        untried = [member for message in self._open.values() for member in message.members]
        try:
            async with asyncio.timeout(_RELEASE_S):
                await self._patiently(
                    lambda connection: release_endpoint(connection, self._lease, due_s=due_s, untried=untried)
                )
        except (SQLAlchemyError, OSError) as error:
            log.warning("endpoint %s not released, its lease ends: %s", self._lease.id, type(error).__name__)

    async def _patiently(self, work: Callable[[AsyncConnection], Awaitable[_Result]]) -> _Result:
        """In a transaction, again and again while the database is away: the lease tells whether it still matters."""
        wait_s = 0.1
        while True:
            try:
                async with self._engine.begin() as connection:
                    return await work(connection)
            except DATABASE_AWAY as error:
                log.info("database away, endpoint %s waits: %s", self._lease.id, type(error).__name__)
            await asyncio.sleep(wait_s)
            wait_s = min(2.0, wait_s * 2)
