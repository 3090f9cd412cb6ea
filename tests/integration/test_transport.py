"""A message of `intake` is with Redis, in one place or the other, at every moment."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kombu import Connection, Consumer, Queue

from sandbox.stack import Stack

_QUEUE = Queue("intake")


@pytest.fixture
def server(stack: Stack) -> Iterator[redis.Redis]:
    server = redis.Redis.from_url(stack.environment()["PHOTABATCH_BROKER_URL"].rpartition("/")[0] + "/15")
    server.flushdb()
    yield server
    server.flushdb()


@pytest.fixture
def broker(stack: Stack, server: redis.Redis) -> Iterator[Connection]:
    url = stack.environment()["PHOTABATCH_BROKER_URL"].rpartition("/")[0] + "/15"
    with Connection(url, transport="worker.transport:Transport") as broker:
        broker.transport.has_loop = True
        yield broker


@pytest.fixture
def taken(broker: Connection) -> Iterator[list[Any]]:
    """What a worker with a window of two has in hand."""
    taken: list[Any] = []
    consumer = Consumer(broker, [_QUEUE], on_message=taken.append, accept=["json"])
    consumer.qos(prefetch_count=2)
    consumer.consume()
    yield taken
    for message in taken:
        message.ack()


def send(broker: Connection, *bodies: object, queue: str = "intake") -> None:
    with broker.clone() as other:
        for body in bodies:
            other.Producer().publish(body, routing_key=queue, exchange="", serializer="json")


def look(broker: Connection) -> None:
    broker.transport.look()


def test_as_much_is_taken_as_the_window_has_room_for(broker: Connection, taken: list[Any], server: redis.Redis) -> None:
    send(broker, 1, 2, 3)
    look(broker)
    assert [message.decode() for message in taken] == [1, 2]
    assert (server.llen("intake"), server.hlen("unacked")) == (1, 2)


def test_what_is_acknowledged_is_gone(broker: Connection, taken: list[Any], server: redis.Redis) -> None:
    send(broker, 1)
    look(broker)
    taken.pop().ack()
    assert (server.llen("intake"), server.hlen("unacked"), server.zcard("unacked_index")) == (0, 0, 0)


def test_what_a_dead_worker_took_is_given_to_another(broker: Connection, taken: list[Any], server: redis.Redis) -> None:
    send(broker, 1)
    look(broker)
    tag, visible_at = server.zrange("unacked_index", 0, -1, withscores=True)[0]
    server.zadd("unacked_index", {tag: visible_at - 61})
    taken.clear()
    broker.default_channel.qos.restore_visible(interval=1)
    assert json.loads(server.lindex("intake", 0))["properties"]["delivery_tag"] == tag.decode()


def test_a_message_that_is_none_is_passed_over(broker: Connection, taken: list[Any], server: redis.Redis) -> None:
    server.lpush("intake", b"not json", b"[]", b'{"properties": 1}')
    send(broker, 1)
    for _ in range(4):
        look(broker)
    assert [message.decode() for message in taken] == [1]


def test_a_full_broker_keeps_the_message(broker: Connection, taken: list[Any], server: redis.Redis) -> None:
    send(broker, 1)
    server.config_set("maxmemory", 1)
    look(broker)
    server.config_set("maxmemory", 0)
    assert (taken, server.llen("intake")) == ([], 1)


@pytest.fixture
def busy(broker: Connection) -> Iterator[list[Any]]:
    """What a worker with a window of one, and more to do in another queue than it comes to, has in hand."""
    send(broker, *range(9), queue="submit")
    taken: list[Any] = []
    consumer = Consumer(broker, [Queue("submit"), _QUEUE], on_message=taken.append, accept=["json"])
    consumer.qos(prefetch_count=1)
    consumer.consume()
    yield taken
    for message in taken:
        message.ack()


def work_on_one(broker: Connection, taken: list[Any]) -> Any:
    """As the event loop does: the window is refilled as soon as there is room."""
    cycle = broker.transport.cycle
    cycle.on_poll_start()
    if not taken:
        for fileno, event in cycle.poller.poll(5):
            cycle.handle_event(fileno, event)
    message = taken.pop()
    message.ack()
    return message.decode()


def test_a_busy_worker_takes_it_in_its_turn(broker: Connection, busy: list[Any], server: redis.Redis) -> None:
    send(broker, "whole", "and another")
    done = [work_on_one(broker, busy) for _ in range(6)]
    assert ([body for body in done if isinstance(body, str)], len(set(done))) == (["whole", "and another"], 6)
    assert (server.llen("submit"), server.hlen("unacked")) == (5, 0), "no more was taken than was worked on"


def test_what_is_taken_in_turn_fills_the_window(broker: Connection, busy: list[Any], server: redis.Redis) -> None:
    send(broker, "whole")
    broker.default_channel._asked = 9
    broker.transport.cycle.on_poll_start()
    assert [message.decode() for message in busy] == ["whole"]
    assert not broker.default_channel._in_poll, "nothing else is asked for"
    assert server.llen("submit") == 9


def test_a_turn_that_fails_does_not_keep_the_others_waiting(
    broker: Connection, busy: list[Any], server: redis.Redis
) -> None:
    send(broker, "whole")
    server.config_set("maxmemory", 1)
    broker.default_channel._asked = 9
    broker.transport.cycle.on_poll_start()
    server.config_set("maxmemory", 0)
    assert broker.default_channel._in_poll, "asked for the others"


def test_a_channel_that_was_given_up_says_so(broker: Connection, taken: list[Any]) -> None:
    send(broker, 1)
    look(broker)
    message = taken.pop()
    broker.release()
    message.channel._disconnect_pools()  # as where what it held could not be given back: the broker was away
    with pytest.raises(ConnectionError):
        message.ack()
