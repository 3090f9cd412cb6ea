"""Stage `notify`: deliver webhook events from the outbox. Receivers see the same id on every try."""

import asyncio
import logging
import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from clients.webhooks import Answer, deliver, next_try
from models.events import event_data
from models.outbox import ClaimedDelivery, DeliveryMove, claim_deliveries, record_delivery
from models.states import DeliveryState
from worker.failpoints import pass_point
from worker.kit import Kit

log = logging.getLogger(__name__)

_LINK_S = 24 * 3600  # presigned links in an event; later ones come from the API


async def notify(ids: Sequence[uuid.UUID], engine: AsyncEngine, kit: Kit) -> None:
    """Deliver what is still pending of these; a lease that runs out brings the others back."""
    async with engine.begin() as connection:
        claimed = await claim_deliveries(connection, ids)
    await asyncio.gather(*(_deliver(delivery, engine, kit) for delivery in claimed))


async def _deliver(delivery: ClaimedDelivery, engine: AsyncEngine, kit: Kit) -> None:
    try:
        async with engine.connect() as connection:
            data = await event_data(connection, delivery)
        for output in data.get("outputs", []):
            output["url"] = await asyncio.to_thread(
                kit.storage.presign, output["bucket"], output["key"], expires_s=_LINK_S
            )
        answer = await deliver(
            kit.webhooks,
            delivery.url,
            secret=delivery.secret,
            message_id=f"msg_{delivery.id.hex}",
            event_type=delivery.type,
            timestamp=delivery.created_at,
            data=data,
        )
        pass_point("in_delivery", kit.failpoint)
        async with engine.begin() as connection:
            await record_delivery(connection, after_answer(delivery, answer, kit))
    except SQLAlchemyError as error:
        log.warning("delivery %s not recorded, its lease brings it back: %s", delivery.id, type(error).__name__)
    except Exception:
        log.exception("delivery %s", delivery.id)
        broken = Answer(None, "internal_error", None, is_delivered=False, is_gone=False)
        async with engine.begin() as connection:
            await record_delivery(connection, after_answer(delivery, broken, kit))


def after_answer(delivery: ClaimedDelivery, answer: Answer, kit: Kit) -> DeliveryMove:
    """Delivered, given up, or due again by the schedule; `Retry-After` may make it later, never earlier."""

    def move(state: DeliveryState, due: timedelta | None = None) -> DeliveryMove:
        due_s = None if due is None else due.total_seconds()
        return DeliveryMove(delivery.id, delivery.version, state, due_s, answer.http_status, answer.error)

    if answer.is_delivered:
        return move(DeliveryState.DELIVERED)
    pause = next_try(delivery.tries, kit.random_source)
    if answer.is_gone or pause is None:
        return move(DeliveryState.FAILED)
    return move(DeliveryState.PENDING, max(pause, timedelta(seconds=answer.retry_after or 0)))
