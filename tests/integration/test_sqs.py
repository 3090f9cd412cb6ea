"""Upload events from a queue that speaks SQS (moto's server, on loopback)."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import Engine
from sqlalchemy.exc import DataError

from clients.sns import SnsReader
from clients.sqs import Queue, QueueRefused, QueueUnavailable
from clients.storage import StorageUnavailable
from producer.uploads.arrivals import Accepted, accept
from producer.uploads.s3_events import parse_events
from producer.uploads.sqs import QueueEvents, Take
from tests.integration import uploads as fixtures
from tests.integration.uploads import OWNER, Uploads, rows
from tests.unit.sns_fake import TOPIC, Amazon, notification, signed

s3, uploads = fixtures.s3, fixtures.uploads


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def sqs(moto: str) -> Iterator[Any]:
    client = boto3.client(
        "sqs", endpoint_url=moto, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    yield client
    client.close()


@pytest.fixture
def url(sqs: Any) -> str:
    attributes = {"VisibilityTimeout": "0"}  # what is not deleted comes again at once
    return str(sqs.create_queue(QueueName=str(uuid.uuid4()), Attributes=attributes)["QueueUrl"])


class Reader:
    """A queue, and what takes its events; `waits`: how often it paused."""

    def __init__(self, url: str, take: Take, sns: Callable[[Callable[[], datetime]], SnsReader]) -> None:
        self.queue = Queue(url)
        self.waits = 0
        self.events = QueueEvents(self.queue, take, self.waiting, sns_reader=sns)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self.waits += 1
        yield

    def once(self) -> Accepted:
        return self.events.handle(self.queue.receive(wait_s=0))


@pytest.fixture
def reader(url: str, uploads: Uploads, engine: Engine) -> Iterator[Reader]:
    take = partial(accept, engine, uploads.storage, owner=OWNER)
    reader = Reader(url, take, lambda clock: SnsReader(clock=clock))
    yield reader
    reader.queue.close()


def send(sqs: Any, url: str, *bodies: Any) -> None:
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body if isinstance(body, str) else json.dumps(body))


def left(sqs: Any, url: str) -> int:
    told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(told["ApproximateNumberOfMessages"]) + int(told["ApproximateNumberOfMessagesNotVisible"])


def test_ten_messages_become_jobs_and_are_deleted(
    sqs: Any, url: str, reader: Reader, uploads: Uploads, engine: Engine
) -> None:
    uploads.watch(engine)
    send(sqs, url, *({"Records": [uploads.put(f"{number}.jpg", b"%d" % number)]} for number in range(10)))
    total = reader.once()
    while left(sqs, url):
        total += reader.once()
    assert total == Accepted(accepted=10)
    assert sorted(rows(engine, "custom_id")) == [f"{number}.jpg" for number in range(10)]


def test_a_test_event_and_eventbridge_are_taken(
    sqs: Any, url: str, reader: Reader, uploads: Uploads, engine: Engine
) -> None:
    uploads.watch(engine)
    uploads.put("a+b.jpg")
    detail = {"bucket": {"name": uploads.bucket}, "object": {"key": f"{uploads.prefix}a+b.jpg"}}
    send(sqs, url, {"Event": "s3:TestEvent"}, {"detail-type": "Object Created", "source": "aws.s3", "detail": detail})
    while left(sqs, url):
        reader.once()
    assert rows(engine, "custom_id") == ["a+b.jpg"]


@pytest.mark.parametrize("body", ["not json", '{"hello": "world"}', json.dumps(notification())])
def test_what_is_no_event_or_not_proved_stays_in_the_queue(sqs: Any, url: str, reader: Reader, body: str) -> None:
    send(sqs, url, body)
    assert reader.once() == Accepted()
    assert left(sqs, url) == 1


def test_a_bad_message_does_not_hold_up_the_others(
    sqs: Any, url: str, reader: Reader, uploads: Uploads, engine: Engine
) -> None:
    uploads.watch(engine)
    send(sqs, url, "not json", {"Records": [uploads.put("1.jpg")]})
    for _ in range(3):
        reader.once()
    assert rows(engine, "custom_id") == ["1.jpg"]
    assert left(sqs, url) == 1


def test_an_envelope_of_sns_counts_by_its_signature_however_long_it_lay_there(
    sqs: Any, url: str, uploads: Uploads, engine: Engine
) -> None:
    uploads.watch(engine)
    amazon, take = Amazon(), partial(accept, engine, uploads.storage, owner=OWNER)
    reader = Reader(url, take, lambda clock: SnsReader(topics=[TOPIC], fetch=amazon.fetch, clock=clock))
    now = datetime.now(UTC)
    envelope = notification(json.dumps({"Records": [uploads.put("1.jpg")]}), Timestamp=now.isoformat())
    send(sqs, url, signed(envelope).decode())
    messages = reader.queue.receive(wait_s=0)
    assert abs(messages[0].sent_at - now) < timedelta(minutes=1), "which is what it is judged by"
    assert reader.events.handle(messages) == Accepted(accepted=1)


def test_while_s3_is_away_messages_are_kept_in_hand(sqs: Any, url: str, uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    faults = [StorageUnavailable("away")]

    def take(events: Any) -> Accepted:
        if faults:
            raise faults.pop()
        assert sqs.receive_message(QueueUrl=url).get("Messages", []) == [], "nobody else gets it"
        return accept(engine, uploads.storage, events, OWNER)

    reader = Reader(url, take, lambda clock: SnsReader(clock=clock))
    send(sqs, url, {"Records": [uploads.put("1.jpg")]})
    assert reader.once() == Accepted(accepted=1)
    assert (reader.waits, left(sqs, url)) == (1, 0)


def test_a_message_that_the_database_refuses_holds_up_no_other(
    sqs: Any, url: str, uploads: Uploads, engine: Engine
) -> None:
    def take(events: Any) -> Accepted:
        if any(event.key.endswith("bad.jpg") for event in events):
            raise DataError("INSERT", None, ValueError())
        return accept(engine, uploads.storage, events, OWNER)

    uploads.watch(engine)
    reader = Reader(url, take, lambda clock: SnsReader(clock=clock))
    send(sqs, url, *({"Records": [uploads.put(name, name.encode())]} for name in ("1.jpg", "bad.jpg", "2.jpg")))
    assert reader.once() == Accepted(accepted=2)
    assert left(sqs, url) == 1


def test_nothing_is_deleted_before_it_is_committed(sqs: Any, url: str, uploads: Uploads) -> None:
    def take(events: Any) -> Accepted:
        raise KeyboardInterrupt

    reader = Reader(url, take, lambda clock: SnsReader(clock=clock))
    send(sqs, url, {"Records": [uploads.put("1.jpg")]})
    with pytest.raises(KeyboardInterrupt):
        reader.once()
    assert left(sqs, url) == 1


def test_a_queue_that_is_not_there_is_told_apart_from_one_that_is_away(moto: str, uploads: Uploads) -> None:
    with pytest.raises(QueueRefused):
        Queue(f"{moto}/123456789012/nothing").receive(wait_s=0)
    with pytest.raises(QueueUnavailable):
        Queue("http://127.0.0.1:1/123456789012/nothing").receive(wait_s=0)


def test_events_are_those_that_were_sent(uploads: Uploads) -> None:
    record = uploads.put("my photo (1).jpg")
    assert [event.key for event in parse_events({"Records": [record]})] == [f"{uploads.prefix}my photo (1).jpg"]
