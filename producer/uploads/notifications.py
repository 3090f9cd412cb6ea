"""What somebody tells of uploads, out of its envelope, and believed only as far as it is proved."""

from typing import Any

from clients.sns import NOTIFICATION, SUBSCRIPTION, UNSUBSCRIPTION, SnsReader
from producer.uploads.s3_events import UploadEvent, parse_events


def read_notification(document: Any, body: bytes, sns: SnsReader, *, is_sns: bool = False) -> list[UploadEvent]:
    """The uploads; none for what only tries whether anybody is here, or is about a subscription, which is confirmed.

    `document`: what `body` says. `is_sns`: whoever sent it says that it is an SNS envelope. Raise InvalidEvent,
    SnsError.
    """
    if document == {}:
        return []
    if not is_sns and not _is_envelope(document):
        return parse_events(document)
    message = sns.read(body)
    if message.is_subscription:
        sns.confirm(message)
    return parse_events(message.message) if message.type == NOTIFICATION else []


def _is_envelope(document: Any) -> bool:
    types = (NOTIFICATION, SUBSCRIPTION, UNSUBSCRIPTION)
    return isinstance(document, dict) and document.get("Type") in types and "TopicArn" in document
