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


def send(broker: Connection, *bodies: object) -> None:
    with broker.clone() as other:
        for body in bodies:
            other.Producer().publish(body, routing_key="intake", exchange="", serializer="json")


def look(broker: Connection) -> None:
    broker.transport._look()


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


def test_a_channel_that_was_given_up_says_so(broker: Connection, taken: list[Any]) -> None:
    send(broker, 1)
    look(broker)
    message = taken.pop()
    broker.release()
    message.channel._disconnect_pools()  # as where what it held could not be given back: the broker was away
    with pytest.raises(ConnectionError):
        message.ack()
