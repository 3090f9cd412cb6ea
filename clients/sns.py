"""Messages of Amazon SNS, proved before they are believed, and subscriptions confirmed.

Who can post here (by HTTP he needs an API key as well) may try to

- have Amazon sign what he likes, by a topic of his own: only topics that the operator named count; without any,
  nothing does;
- name a certificate of his own: its URL is matched as a whole, not taken apart by a parser that may disagree with the
  one that connects. A host that only begins or ends right is his (`….amazonaws.com.evil.example`), and so is the bucket
  called `sns` at `sns.s3-us-west-2.amazonaws.com`: a region has no digit but its last. A query is refused, for SNS
  answers `?Action=…` on the same host with text he wrote; and a certificate must be where the answer begins;
- move bytes from one signed field to the next, which the signed text parts by new lines only: all but `Message` must be
  one line, and topic and type are compared whole;
- alter what is not signed, `UnsubscribeURL` and `MessageAttributes`: it is not read;
- post a message again, or keep it for later: it is refused after an hour, as long as SNS itself tries, and until then
  it must do no harm twice, which is for those who take it;
- have us ask Amazon in vain, 64 KB and 5 s at a time: only valid certificates are kept, so he cannot push them out;
- have a subscription made or renewed: only a SubscriptionConfirmation of a named topic is followed, never the one that
  an UnsubscribeConfirmation offers.

Not checked is the certificate's issuer: that it came by https from Amazon's host is what vouches for it. SHA-1 is as
SNS has it where a topic's SignatureVersion was not set to 2; a collision needs the right to publish on that very topic.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

from clients.sns_certificates import Certificates, Fetch, fetch_from_amazon, is_aws_url
from clients.sns_errors import (
    ForgedMessage,
    NotSns,
    SnsError,
    SnsRefused,
    SnsUnavailable,
    StaleMessage,
    UnknownTopic,
    UntrustedUrl,
)

__all__ = [
    "ForgedMessage",
    "NotSns",
    "SnsError",
    "SnsMessage",
    "SnsReader",
    "SnsRefused",
    "SnsUnavailable",
    "StaleMessage",
    "UnknownTopic",
    "UntrustedUrl",
    "fetch_from_amazon",
    "is_aws_url",
    "unwrapped",
]

OLDEST = timedelta(hours=1)  # SNS gives up trying to deliver after 3,600 s at most
AHEAD = timedelta(minutes=5)  # of our clock

NOTIFICATION = "Notification"
SUBSCRIPTION = "SubscriptionConfirmation"
UNSUBSCRIPTION = "UnsubscribeConfirmation"
# What is signed, in this order: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED: Mapping[str, tuple[str, ...]] = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIPTION: _CONFIRMATION,
    UNSUBSCRIPTION: _CONFIRMATION,
}
_HASHES: Mapping[str, HashAlgorithm] = {"1": SHA1(), "2": SHA256()}  # noqa: S303 - as SNS has it


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """`type`: Notification, SubscriptionConfirmation or UnsubscribeConfirmation. `message`: for a notification, what
    was published. `subscribe_url`: of confirmations only."""

    type: str
    topic_arn: str
    message: str
    message_id: str
    sent_at: datetime
    subject: str | None = None
    subscribe_url: str | None = None

    @property
    def is_subscription(self) -> bool:
        """Whether it waits for `SnsReader.confirm`."""
        return self.type == SUBSCRIPTION


class SnsReader:
    """`topics`: ARNs of the topics that are believed; None or empty: none is.

    `fetch`: what is at an https URL; raises SnsError. It blocks, and so do `read` and `confirm`: call them in a thread.
    `is_trusted`: whether a URL is on a host that may vouch for a message. For use by many threads at once.
    """

    def __init__(
        self,
        *,
        topics: Sequence[str] | None = None,
        fetch: Fetch = fetch_from_amazon,
        is_trusted: Callable[[str], bool] = is_aws_url,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._topics = frozenset(topics or ())
        self._fetch = fetch
        self._is_trusted = is_trusted
        self._clock = clock
        self._certificates = Certificates(fetch, is_trusted)

    def read(self, body: bytes) -> SnsMessage:
        """The message, if Amazon signed it for one of the topics. Raise SnsError; nothing is fetched for what can be
        refused without. The caller bounds `body`: SNS sends 256 KB, and JSON's escapes on top."""
        fields = _fields(body)
        message = _message(fields)
        now = self._clock()
        self._check_topic(message)
        if not now - OLDEST <= message.sent_at <= now + AHEAD:
            raise StaleMessage(f"the message is of {fields['Timestamp']}, which is not within the last hour")
        key = self._certificates.public_key(fields["SigningCertURL"], now=now)
        try:
            key.verify(_signature(fields), _canonical(fields), PKCS1v15(), _HASHES[fields["SignatureVersion"]])
        except InvalidSignature:
            raise ForgedMessage("the signature is not that of this message") from None
        return message

    def confirm(self, message: SnsMessage) -> None:
        """Tell Amazon that the subscription is wanted; once more does no harm. Raise SnsError; NotSns for any message
        but a SubscriptionConfirmation."""
        if not message.is_subscription or message.subscribe_url is None:
            raise NotSns("only a SubscriptionConfirmation can be confirmed")
        self._check_topic(message)
        url = message.subscribe_url
        if not self._is_trusted(url) or not _is_confirmation(url, message.topic_arn):
            raise UntrustedUrl("SubscribeURL does not confirm a subscription to this topic with Amazon SNS")
        self._fetch(url)

    def _check_topic(self, message: SnsMessage) -> None:
        if message.topic_arn not in self._topics:
            raise UnknownTopic(f"the topic {message.topic_arn[:256]!r} is not one that may send here")


def unwrapped(body: str) -> str:
    """What was published, where `body` is the envelope of an SNS notification (an SQS queue subscribed without raw
    delivery); anything else as it is.

    Nothing is proved: for a queue of one's own, whose policy says who may send to it. Never for what comes by HTTP.
    """
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(envelope, dict) or envelope.get("Type") != NOTIFICATION or "TopicArn" not in envelope:
        return body
    message = envelope.get("Message")
    return message if isinstance(message, str) else body


def _fields(body: bytes) -> dict[str, str]:
    """The signed ones and those about the signature, each a text that can be encoded. Raise NotSns."""
    envelope = _envelope(body)
    kind = envelope.get("Type")
    if not isinstance(kind, str) or kind not in _SIGNED:
        raise NotSns("Type is none that SNS has")
    names = [*_SIGNED[kind], "SignatureVersion", "Signature", "SigningCertURL"]
    if envelope.get("Subject") is None:  # the one that may be missing
        names = [name for name in names if name != "Subject"]
    return {name: _text(envelope, name) for name in names}


def _envelope(body: bytes) -> dict[str, Any]:
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        raise NotSns("the body is not JSON") from None
    if not isinstance(envelope, dict):
        raise NotSns("the body is no JSON object")
    return envelope


def _text(envelope: Mapping[str, Any], name: str) -> str:
    value = envelope.get(name)
    if not isinstance(value, str):
        raise NotSns(f"{name} is missing, or no text")
    if "\n" in value and name != "Message":
        raise NotSns(f"{name} has more than one line")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotSns(f"{name} is not Unicode") from None
    return value


def _message(fields: Mapping[str, str]) -> SnsMessage:
    if fields["SignatureVersion"] not in _HASHES:
        raise NotSns("SignatureVersion is neither 1 nor 2")
    return SnsMessage(
        type=fields["Type"],
        topic_arn=fields["TopicArn"],
        message=fields["Message"],
        message_id=fields["MessageId"],
        sent_at=_moment(fields["Timestamp"]),
        subject=fields.get("Subject"),
        subscribe_url=fields.get("SubscribeURL"),
    )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise NotSns("Timestamp is no moment") from None
    if moment.tzinfo is None:
        raise NotSns("Timestamp has no time zone")
    return moment


def _canonical(fields: Mapping[str, str]) -> bytes:
    """Name and value of each signed field, a line each."""
    names = [name for name in _SIGNED[fields["Type"]] if name in fields]
    return "".join(f"{name}\n{fields[name]}\n" for name in names).encode()


def _signature(fields: Mapping[str, str]) -> bytes:
    try:
        return b64decode(fields["Signature"], validate=True)
    except ValueError:
        raise ForgedMessage("Signature is not base64") from None


def _is_confirmation(url: str, topic_arn: str) -> bool:
    """Nothing else that the same host does on a GET."""
    query = parse_qs(urlsplit(url).query)
    return query.get("Action") == ["ConfirmSubscription"] and query.get("TopicArn") == [topic_arn]
