"""Upload events from an SQS queue: received, queued as jobs, and only then deleted."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from clients.failpoints import pass_point
from clients.sns import SnsError, SnsReader, SnsUnavailable
from clients.sqs import Queue, QueueError, QueueMessage
from clients.storage import StorageUnavailable
from producer.ownership import QueueFull
from producer.uploads.arrivals import Accepted
from producer.uploads.notifications import read_notification
from producer.uploads.s3_events import InvalidEvent, UploadEvent
from settings import get_settings

log = logging.getLogger(__name__)

_PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0)  # between tries while something is away; the last one again and again
_KEPT_S = 90  # messages in hand stay invisible for so long; more than the longest pause and a try
_AWAY = (StorageUnavailable, SnsUnavailable, OperationalError, InterfaceError, PoolTimeout, QueueFull)

Take = Callable[[Sequence[UploadEvent]], Accepted]
"""Queue the jobs of some uploads, and commit. Raises what `producer.uploads.arrivals.accept` raises."""
Waiting = Callable[[], AbstractContextManager[None]]
"""A block in which nothing is in hand, or can be given up: the process may be stopped in it."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A message that was understood."""

    message: QueueMessage
    events: list[UploadEvent]


class QueueEvents:
    """`sns_reader`: how an SNS envelope is proved, with the clock it is to be judged by."""

    def __init__(
        self, queue: Queue, take: Take, waiting: Waiting, *, sns_reader: Callable[[Callable[[], datetime]], SnsReader]
    ) -> None:
        self._queue = queue
        self._take = take
        self._waiting = waiting
        # an envelope was fresh enough if it was when it came to the queue, however long it has lain there
        self._came_at = datetime.now(UTC)
        self._sns = sns_reader(lambda: self._came_at)

    def run(self) -> None:
        """Until the caller stops it in a `waiting` block. Raise QueueRefused."""
        failures = 0
        while True:
            try:
                with self._waiting():
                    messages = self._queue.receive()
                failures = 0
                self.handle(messages)
            except QueueError as error:
                if not error.is_retryable:
                    raise
                self._pause(failures, error)
                failures += 1

    def handle(self, messages: Sequence[QueueMessage]) -> Accepted:
        """Queue the jobs of up to ten messages and delete them; what is no event stays for the queue's own policy."""
        try:
            understood, taken = self._patiently(messages, lambda: self._work(messages))
        except DBAPIError as error:  # whatever it is, waiting does not mend it
            return self._apart(messages, error)
        pass_point("before_delete", get_settings().failpoint)
        if understood and (left := self._queue.delete(understood)):
            log.warning("%d messages were not deleted; they come again and do no harm", left)
        return taken

    def _apart(self, messages: Sequence[QueueMessage], error: DBAPIError) -> Accepted:
        """One by one, so that the message that the database does not take holds up no other."""
        if len(messages) > 1:
            return sum((self.handle([each]) for each in messages), Accepted())
        log.error("message %s is left in the queue (try %d)", messages[0].id, messages[0].tries, exc_info=error)
        return Accepted()

    def _work(self, messages: Sequence[QueueMessage]) -> tuple[list[QueueMessage], Accepted]:
        read = [each for message in messages if (each := self._read(message)) is not None]
        events = [event for each in read for event in each.events]
        taken = self._take(events) if events else Accepted()
        if read:
            log.info(
                "%d messages: %d jobs, %d known, %d ignored", len(read), taken.accepted, taken.known, taken.ignored
            )
        return [each.message for each in read], taken

    def _read(self, message: QueueMessage) -> _Read | None:
        """None for what is no event, or not proved. Raise SnsUnavailable."""
        self._came_at = message.sent_at
        try:
            body = message.body.encode()
            return _Read(message, read_notification(_loaded(message.body), body, self._sns))
        except (InvalidEvent, SnsError, UnicodeEncodeError) as error:
            if isinstance(error, SnsUnavailable):
                raise
            log.warning("message %s is left in the queue (try %d): %s", message.id, message.tries, error)
            return None

    def _patiently(
        self, messages: Sequence[QueueMessage], work: Callable[[], tuple[list[QueueMessage], Accepted]]
    ) -> tuple[list[QueueMessage], Accepted]:
        """While something is away the messages are kept in hand: given back, each try would count against them."""
        failures = 0
        while True:
            try:
                return work()
            except _AWAY as error:
                self._keep(messages)
                self._pause(failures, error)
                failures += 1

    def _keep(self, messages: Sequence[QueueMessage]) -> None:
        try:
            self._queue.keep(messages, seconds=_KEPT_S)
        except QueueError as error:
            log.warning("messages in hand may come twice, which does no harm: %s", error)

    def _pause(self, failures: int, error: Exception) -> None:
        pause_s = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
        reason = type(error.orig).__name__ if isinstance(error, DBAPIError) else error
        log.warning("nothing is lost, trying again in %g s: %s", pause_s, reason)
        with self._waiting():
            time.sleep(pause_s)


def _loaded(body: str) -> object:
    """Raise InvalidEvent."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidEvent("the message is not JSON") from None
