"""Messages of Amazon SNS: what is believed, and everything that is not."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clients import sns
from clients.sns import (
    ForgedMessage,
    NotSns,
    SnsError,
    SnsMessage,
    SnsReader,
    SnsUnavailable,
    StaleMessage,
    UnknownTopic,
    UntrustedUrl,
    unwrapped,
)
from tests.unit.sns_fake import (
    CERTIFICATE,
    CONFIRM,
    HOST,
    HOSTILE,
    NOW,
    TOPIC,
    Amazon,
    canonical,
    confirmation,
    notification,
    private_key,
    signed,
)


def read(body: bytes, *, amazon: Amazon | None = None) -> SnsMessage:
    return (amazon or Amazon()).reader().read(body)


def changed(body: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(body), **fields}).encode()


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("kind", ["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"])
def test_what_amazon_signed_is_believed(kind: str, version: str) -> None:
    envelope = notification() if kind == "Notification" else confirmation(kind)
    message = read(signed(envelope | {"SignatureVersion": version}))
    assert (message.type, message.topic_arn, message.message) == (kind, TOPIC, envelope["Message"])
    assert message.sent_at == datetime(2026, 5, 1, 11, 59, 30, 123_000, UTC)


def test_the_example_of_amazons_documentation_is_spelled_so() -> None:
    envelope = notification(
        "My Test Message", Subject="My subject", MessageId="4d4dc071", Timestamp="2019-01-31T04:37Z"
    )
    assert canonical(envelope) == (
        b"Message\nMy Test Message\nMessageId\n4d4dc071\nSubject\nMy subject\n"
        b"Timestamp\n2019-01-31T04:37Z\nTopicArn\narn:aws:sns:eu-west-1:123456789012:uploads\nType\nNotification\n"
    )


@pytest.mark.parametrize("message", ["", "ü😀\u0000", "two\nlines\nTopicArn\nelsewhere\n", '{"a": "\\n"}'])
def test_any_text_can_be_published(message: str) -> None:
    assert read(signed(notification(message))).message == message


def test_a_subject_may_be_missing() -> None:
    envelope = notification()
    del envelope["Subject"]
    assert read(signed(envelope)).subject is None
    assert read(changed(signed(envelope), Subject=None)).subject is None


@pytest.mark.parametrize(
    ("envelope", "name"),
    [(notification(), name) for name in ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")]
    + [(confirmation(), name) for name in ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn")],
    ids=lambda value: value if isinstance(value, str) else value["Type"],
)
def test_every_character_of_a_signed_field_counts(envelope: dict[str, Any], name: str) -> None:
    """Topics are not what refuses: an altered one is named as well."""
    body, amazon, value = signed(envelope), Amazon(), envelope[name]
    has_other_checks = name in ("Timestamp", "Type")
    for at in range(len(value)):
        other = value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
        with pytest.raises(SnsError if has_other_checks else ForgedMessage):
            amazon.reader(TOPIC, other).read(changed(body, **{name: other}))
    for other in (value[:-1], value + " ", value + "\n", ""):
        with pytest.raises(SnsError):
            amazon.reader(TOPIC, other).read(changed(body, **{name: other}))


def test_every_character_of_the_signature_counts() -> None:
    body, reader = signed(notification()), Amazon().reader()
    signature = json.loads(body)["Signature"]
    for at in range(len(signature) - 3):  # the last ones have bits that say nothing
        other = signature[:at] + ("A" if signature[at] != "A" else "B") + signature[at + 1 :]
        with pytest.raises(ForgedMessage):
            reader.read(changed(body, Signature=other))


@pytest.mark.parametrize("signature", ["", "AAAA", "not base64", "ä", "=" * 8])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(ForgedMessage):
        read(changed(signed(notification()), Signature=signature))


def test_another_key_is_refused() -> None:
    with pytest.raises(ForgedMessage):
        read(signed(notification(), key=private_key(1)))


def test_a_hash_is_not_exchanged_for_the_other() -> None:
    with pytest.raises(ForgedMessage):
        read(changed(signed(notification()), SignatureVersion="1"))


def test_a_subject_is_not_taken_from_the_message() -> None:
    """The same bytes are signed, cut elsewhere."""
    body = signed(notification("a\nMessageId\nb", Subject="c", MessageId="d"))
    forged = changed(body, Message="a", MessageId="b\nMessageId\nd")
    assert canonical(json.loads(forged)) == canonical(json.loads(body))
    with pytest.raises(NotSns, match="MessageId has more than one line"):
        read(forged)


def test_a_topic_is_not_taken_from_the_message() -> None:
    """Published on a topic of one's own, signed by Amazon, and cut so that a named topic seems to be meant."""
    own = f"{TOPIC}-evil"
    inner = f"evil\nMessageId\ni\nTimestamp\n2026-05-01T11:59:30Z\nTopicArn\n{TOPIC}\nType\nNotification"
    envelope = notification(inner, TopicArn=own)
    del envelope["Subject"]
    tail = canonical(envelope).decode().partition("\nType\nNotification\n")[2]
    forged = changed(
        signed(envelope),
        Message="evil",
        MessageId="i",
        Timestamp="2026-05-01T11:59:30Z",
        TopicArn=TOPIC,
        Type=f"Notification\n{tail}".removesuffix("\n"),
    )
    assert canonical(json.loads(forged)) == canonical(envelope)
    with pytest.raises(NotSns):
        read(forged)


@pytest.mark.parametrize("topics", [None, [], [f"{TOPIC}2"], [TOPIC[:-1]], [TOPIC.upper()]])
def test_only_named_topics_are_believed(topics: list[str] | None) -> None:
    amazon = Amazon()
    with pytest.raises(UnknownTopic):
        SnsReader(topics=topics, fetch=amazon.fetch, clock=lambda: NOW).read(signed(notification()))
    assert amazon.asked == []


@pytest.mark.parametrize("seconds", [3_600.1, 100_000, -300.1])
def test_a_message_has_an_hour(seconds: float) -> None:
    amazon, sent = Amazon(), NOW - timedelta(seconds=seconds)
    with pytest.raises(StaleMessage):
        read(signed(notification(Timestamp=sent.isoformat())), amazon=amazon)
    assert amazon.asked == []


def test_an_hour_is_an_hour() -> None:
    for seconds in (3_600, -300):
        sent = NOW - timedelta(seconds=seconds)
        assert read(signed(notification(Timestamp=sent.isoformat()))).sent_at == sent


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b"null",
        b'"Notification"',
        b"{}",
        changed(signed(notification()), Type="Publication"),
        changed(signed(notification()), Type=["Notification"]),
        changed(signed(notification()), SignatureVersion="3"),
        changed(signed(notification()), SignatureVersion=2),
        changed(signed(notification()), Message={}),
        changed(signed(notification()), Message="\ud800"),
        changed(signed(notification()), Subject=7),
        changed(signed(notification()), Timestamp="yesterday"),
        changed(signed(notification()), Timestamp="2026-05-01T11:59:30"),
        changed(signed(confirmation()), Token=None),
        json.dumps({"Records": []}).encode(),
    ],
    ids=lambda body: str(body[:20]),
)
def test_what_is_no_envelope_is_refused(body: bytes) -> None:
    with pytest.raises(NotSns):
        read(body)


@pytest.mark.parametrize("name", sorted({*notification(), *confirmation()} - {"UnsubscribeURL", "Subject"}))
def test_no_field_may_be_missing(name: str) -> None:
    envelope = json.loads(signed(notification() if name in notification() else confirmation()))
    del envelope[name]
    with pytest.raises(NotSns):
        read(json.dumps(envelope).encode())


def test_a_subscription_is_confirmed_with_amazon() -> None:
    amazon = Amazon()
    reader = amazon.reader()
    message = reader.read(signed(confirmation()))
    assert message.is_subscription
    reader.confirm(message)
    assert amazon.asked == [CERTIFICATE, CONFIRM]


@pytest.mark.parametrize("envelope", [notification(), confirmation("UnsubscribeConfirmation")])
def test_nothing_else_is_followed(envelope: dict[str, Any]) -> None:
    amazon = Amazon()
    reader = amazon.reader()
    with pytest.raises(NotSns):
        reader.confirm(reader.read(signed(envelope)))
    assert amazon.asked == [CERTIFICATE]


@pytest.mark.parametrize(
    "url",
    [
        *HOSTILE,
        CONFIRM.replace("https", "http"),
        CONFIRM.replace("ConfirmSubscription", "Unsubscribe"),
        CONFIRM.replace("uploads", "others"),
        f"{CONFIRM}&Action=DeleteTopic",
        f"{HOST}/",
    ],
)
def test_a_confirmation_confirms_and_that_with_amazon(url: str) -> None:
    amazon = Amazon()
    message = SnsMessage("SubscriptionConfirmation", TOPIC, "", "id", NOW, subscribe_url=url)
    with pytest.raises(UntrustedUrl):
        amazon.reader().confirm(message)
    assert amazon.asked == []


def test_a_subscription_to_another_topic_is_not_confirmed() -> None:
    message = SnsMessage("SubscriptionConfirmation", TOPIC, "", "id", NOW, subscribe_url=CONFIRM)
    with pytest.raises(UnknownTopic):
        Amazon().reader(f"{TOPIC}2").confirm(message)


def test_an_envelope_in_a_queue_is_taken_off() -> None:
    assert unwrapped(signed(notification('{"Records": []}')).decode()) == '{"Records": []}'
    assert unwrapped(json.dumps({"Type": "Notification", "TopicArn": TOPIC, "Message": "m"})) == "m"


@pytest.mark.parametrize(
    "body",
    ["", "{", "[1]", '{"Records": []}', '{"Type": "Notification", "Message": "m"}', signed(confirmation()).decode()],
    ids=lambda body: body[:20],
)
def test_what_is_no_envelope_stays_as_it_is(body: str) -> None:
    assert unwrapped(body) == body


def test_codes_are_distinct() -> None:
    errors = [each for each in vars(sns).values() if isinstance(each, type) and issubclass(each, SnsError)]
    assert len({each.code for each in errors}) == len(errors) == 8
    assert [each for each in errors if each.is_retryable] == [SnsUnavailable]
