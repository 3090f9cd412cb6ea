"""What senders of S3 events post, for the OpenAPI document."""

from typing import Any

_SNS = "https://sns.eu-west-1.amazonaws.com"
_TOPIC = "arn:aws:sns:eu-west-1:123456789012:uploads"


def _records(source: str, name: str, key: str, **thing: Any) -> dict[str, Any]:
    s3 = {"bucket": {"name": "photos"}, "object": {"key": key, "size": 224662, **thing}}
    record = {"eventSource": source, "eventTime": "2026-05-01T12:00:00.123Z", "eventName": name, "s3": s3}
    return {"Records": [record]}


def _sns(kind: str, message: str, **fields: str) -> dict[str, str]:
    return {
        "Type": kind,
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": _TOPIC,
        "Message": message,
        "Timestamp": "2026-05-01T12:00:01.000Z",
        "SignatureVersion": "2",
        "Signature": "bm90IGEgc2lnbmF0dXJl",
        "SigningCertURL": f"{_SNS}/SimpleNotificationService-010a507c1833636cd94bdb98bd93083a.pem",
        **fields,
    }


_ETAG = "5fc7298143efe1276d39a3466d4e255f"
_SEAWEED_ENTRY = {
    "name": "my photo (1).jpg",
    "attributes": {"file_size": 224662, "mtime": 1777636800, "md5": "X8cpgUPv4SdtOaNGbU4lXw=="},
}
EXAMPLES: dict[str, Any] = {
    "aws": _records(
        "aws:s3", "ObjectCreated:Put", "in/my+photo+%281%29.jpg", eTag=_ETAG, sequencer="0055AED6DCD90281E5"
    ),
    "aws_test": {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"},
    "minio": {
        "EventName": "s3:ObjectCreated:Put",
        "Key": "photos/in/my photo (1).jpg",
        **_records("minio:s3", "s3:ObjectCreated:Put", "in%2Fmy+photo+%281%29.jpg", eTag=_ETAG),
    },
    "ceph": _records("ceph:s3", "ObjectCreated:Put", "in/my photo (1).jpg", eTag=_ETAG, sequencer="F7E6D75DC742D108"),
    "seaweedfs": {
        "event_type": "create",
        "key": "/buckets/photos/in/my photo (1).jpg",
        "message": {"new_entry": _SEAWEED_ENTRY, "new_parent_path": "/buckets/photos/in"},
    },
    "event_bridge": {
        "detail-type": "Object Created",
        "source": "aws.s3",
        "time": "2026-05-01T12:00:00Z",
        "detail": {
            "bucket": {"name": "photos"},
            "object": {
                "key": "in/my photo (1).jpg",
                "size": 224662,
                "etag": _ETAG,
                "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
                "sequencer": "617f08299329d189",
            },
        },
    },
    "sns": _sns("Notification", '{"Records": [{"eventName": "ObjectCreated:Put", "s3": {…}}]}'),
    "sns_subscription": _sns(
        "SubscriptionConfirmation",
        "You have chosen to subscribe to the topic.",
        Token="2336…",  # noqa: S106  an example
        SubscribeURL=f"{_SNS}/?Action=ConfirmSubscription&TopicArn={_TOPIC}&Token=2336…",
    ),
    "ping": {},
}
