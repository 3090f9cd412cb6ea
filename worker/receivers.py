"""What a receiver's answers mean, for the delivery and for the pace of its endpoint: pure functions.

In words: a delivery that fails is due again by the schedule of the contract. Beside it, an endpoint that fails is left
alone for 0.2, 0.4, 0.8 … 5 s, give or take a fifth, so that a receiver that is down gets a few tries at a time whatever
waits for it; and for as long as it asks for with a 429 or 503, an hour at most.
"""

import random
from dataclasses import dataclass
from datetime import timedelta

from clients.webhooks import Answer, next_try
from models.outbox import DeliveryMove
from models.states import DeliveryState
from worker.messages import Message

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_LONGEST_REST_S = 3600.0  # a Retry-After by mistake must not silence an endpoint for a day; the delivery itself obeys
_BUSY = (429, 503)  # about the receiver, not about this event
BROKEN = Answer(None, "internal_error", None, is_delivered=False, is_gone=False)  # our own fault


def after_answer(message: Message, answer: Answer, random_source: random.Random) -> DeliveryMove:
    """Delivered, given up, or due again by the schedule; `Retry-After` may make it later, never earlier."""

    def move(state: DeliveryState, due: timedelta | None = None) -> DeliveryMove:
        due_s = None if due is None else due.total_seconds()
        return DeliveryMove(message.id, message.members, state, due_s, answer.http_status, answer.error)

    if answer.is_delivered:
        return move(DeliveryState.DELIVERED)
    pause = next_try(message.tries + 1, random_source)
    if answer.is_gone or pause is None:
        return move(DeliveryState.FAILED)
    return move(DeliveryState.PENDING, max(pause, timedelta(seconds=answer.retry_after or 0)))


def pause_s(failures: int, random_source: random.Random) -> float:
    """Seconds to leave an endpoint alone after so many failures in a row; none after none."""
    if not failures:
        return 0.0
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures, 10)) * random_source.uniform(0.8, 1.2)


@dataclass(slots=True)
class Tally:
    """A receiver's answers of one round, in their order."""

    took: bool = False  # at least one
    failed: int = 0  # since it took one
    broken: int = 0  # never reached it
    is_gone: bool = False
    rest_s: float = 0.0  # it asked to be left alone for

    def note(self, answer: Answer) -> None:
        if answer.is_delivered:
            self.took, self.failed = True, 0
        elif answer is BROKEN:
            self.broken += 1
        else:
            self.failed += 1
            self.is_gone |= answer.is_gone
        if answer.http_status in _BUSY:
            self.rest_s = max(self.rest_s, min(_LONGEST_REST_S, answer.retry_after or 0.0))

    @property
    def is_well(self) -> bool:
        """The next may be sent at once."""
        return not (self.failed or self.broken or self.is_gone or self.rest_s)
