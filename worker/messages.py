"""Deliveries as the calls that tell of them: a call each, or one for all of a digest."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.events import DIGEST, Events
from models.moments import written
from models.outbox import ClaimedDelivery


@dataclass(frozen=True, slots=True)
class Message:
    """One call. `id` is the same on every try; `tries`: before this one; `members`: deliveries with their versions."""

    id: uuid.UUID
    type: str
    timestamp: datetime
    data: Mapping[str, Any]
    tries: int
    members: tuple[tuple[uuid.UUID, int], ...]


def as_messages(deliveries: Sequence[ClaimedDelivery], events: Events) -> list[Message]:
    """In the same order. `deliveries` are those of one digest, or none belongs to any."""
    digest_id = deliveries[0].digest_id
    if digest_id is not None:
        return [_digest(digest_id, deliveries, events)]
    return [
        Message(each.id, each.type, each.created_at, events[each.id], each.tries, ((each.id, each.version),))
        for each in deliveries
    ]


def _digest(digest_id: uuid.UUID, deliveries: Sequence[ClaimedDelivery], events: Events) -> Message:
    jobs = [{"type": each.type, "timestamp": written(each.created_at), "data": events[each.id]} for each in deliveries]
    return Message(
        digest_id,
        DIGEST,
        min(each.created_at for each in deliveries),
        {"jobs": jobs, "count": len(jobs)},
        max(each.tries for each in deliveries),
        tuple((each.id, each.version) for each in deliveries),
    )


def outputs_of(message: Message) -> list[dict[str, Any]]:
    """Of all jobs that it tells of; they are parts of its data."""
    told = [job["data"] for job in message.data["jobs"]] if message.type == DIGEST else [message.data]
    return [output for data in told for output in data.get("outputs", ())]
