"""Celery's way to Redis, mended where a lost broker would end the worker, and a lost worker the message that it takes.

`Messages` is what the application is given as its `amqp`; `use_own_transport` makes the rest known.
"""

import logging
import time
from typing import Any

import kombu
from celery import Celery
from celery.app.amqp import AMQP
from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.json import loads

log = logging.getLogger(__name__)

WHOLE = frozenset({"intake"})  # queues whose messages are in no table yet: what is lost of them is lost for good
_LOOK_S = 0.05  # between two looks into those
_MOST = 64  # messages of one look
_REST_S = 1.0  # after a look that failed
_VISIBLE_S = 60.0  # then somebody else gets what a dead worker took; to put it into the table takes milliseconds

# Between BRPOP and the note of what was popped a message is nowhere; here the server does both, or neither.
_TAKE = """
    for place = 3, #KEYS do
        local item = redis.call('LINDEX', KEYS[place], -1)
        if item then
            local is_json, message = pcall(cjson.decode, item)
            local properties = is_json and type(message) == 'table' and message.properties
            local told = type(properties) == 'table' and properties.delivery_info
            if type(told) == 'table' and type(properties.delivery_tag) == 'string' then
                redis.call('ZADD', KEYS[1], ARGV[1], properties.delivery_tag)
                redis.call('HSET', KEYS[2], properties.delivery_tag,
                           '[' .. item .. ',' .. cjson.encode(told.exchange) .. ','
                           .. cjson.encode(told.routing_key) .. ']')
            end
            return redis.call('RPOP', KEYS[place])
        end
    end
    return false
"""


class QoS(redis.QoS):
    channel: Any

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message in hand, at the server too unless that has done so itself."""
        if self.channel.is_noted:
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)


class Channel(redis.Channel):
    QoS = QoS
    is_noted = False  # what is being delivered
    connection: Any
    _queue_cycle: Any  # kombu's own, as the next
    _q_for_pri: Any
    _asked = 0  # how often for the other queues, since the turn of those that are looked into

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Raise ConnectionError where the connection was given up.

        kombu 5.7.0 raises AttributeError when a channel of a lost connection is to give back, or to acknowledge, what
        it still holds; Celery takes that for a fault of its own, and the process ends.
        """
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("this channel's connection to the broker was given up")
        theirs: Any = super()
        parameters: dict[str, Any] = theirs._connparams(asynchronous=asynchronous)
        return parameters

    def _update_queue_cycle(self) -> None:
        """The queues that BRPOP waits for."""
        looked_into = WHOLE if self.connection.has_loop else frozenset()
        self._queue_cycle.update([queue for queue in self.active_queues if queue not in looked_into])

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Ask for a message of the other queues, if there is room for one after the turn of those looked into.

        While others wait, a place in the window is free for a millisecond: a look every 50 ms finds none.
        """
        self._asked += 1
        if self.connection.has_loop and self._asked >= len(self.active_queues):
            self._asked = 0
            self.connection.look([self], most=1)
        if self.qos.can_consume():
            theirs: Any = super()
            theirs._brpop_start(timeout)

    def take_whole(self, *, most: int = _MOST) -> None:
        """Deliver what waits in the queues that are looked into, as far as the window of the worker goes."""
        for queue in WHOLE.intersection(self.active_queues):
            for _ in range(most):
                if not self.qos.can_consume() or not self._take_one(queue):
                    break

    def _take_one(self, queue: str) -> bool:
        lists = [self._q_for_pri(queue, priority) for priority in self.priority_steps]
        keys = [self.unacked_index_key, self.unacked_key, *lists]
        noted_at = time.time() - self.visibility_timeout + _VISIBLE_S
        with self.conn_or_acquire() as client:
            item = client.eval(_TAKE, len(keys), *keys, noted_at)
        if item is None:
            return False
        self.is_noted = True
        try:
            self.connection._deliver(loads(item.decode()), queue)
        except (ValueError, KeyError, TypeError) as error:
            log.error("a message of %s is none of Celery's: %s", queue, type(error).__name__)
        finally:
            self.is_noted = False
        return True


class Transport(redis.Transport):
    Channel = Channel
    cycle: Any
    has_loop = False  # whether somebody calls `look`
    _rests_until = 0.0

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        theirs: Any = super()
        theirs.register_with_event_loop(connection, loop)
        self.has_loop = True
        loop.call_repeatedly(_LOOK_S, self.look)

    def look(self, channels: list[Any] | None = None, *, most: int = _MOST) -> None:
        """Into the queues of those channels, by default of all, for so many messages of each.

        A broker that is away is noticed, and told of, by whoever waits for its other queues.
        """
        if time.monotonic() < self._rests_until:
            return
        try:
            for channel in list(self.cycle._channels) if channels is None else channels:
                channel.take_whole(most=most)
        except self.connection_errors + self.channel_errors as error:
            self._rests_until = time.monotonic() + _REST_S
            log.debug("not looked into: %s", type(error).__name__)


class Connection(kombu.Connection):
    """A broker that is away is tried every two seconds: kombu's 30 s at most are 30 s that a fleet stands still."""

    def _ensure_connection(
        self,
        errback: Any = None,
        max_retries: int | None = None,
        interval_start: float = 0.5,
        interval_step: float = 0.5,
        interval_max: float = 2.0,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        theirs: Any = super()
        pace = (interval_start, interval_step, interval_max)
        return theirs._ensure_connection(errback, max_retries, *pace, *args, **kwargs)


class Messages(AMQP):
    Connection = Connection


def use_own_transport() -> None:
    """From now on `redis://` and `rediss://` mean the one above, in this process."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"


def broker_errors(app: Celery) -> tuple[type[Exception], ...]:
    """What the broker, or whoever speaks to it, raises where it is away or takes nothing: full, or read-only."""
    broker = app.connection_for_write()
    # a connection of the pool whose server is gone raises its driver's own errors; so does what is refused
    errors: Any = (*broker.connection_errors, *broker.channel_errors)
    return (OperationalError, OSError, *errors)
