"""What S3 and its gateways post when an object has been written, read into UploadEvents; nothing is fetched or stored.

Who sends what, by their sources and documentation, and SeaweedFS by what a running one posted:

| | object keys | else |
|---|---|---|
| AWS, plain | as in a form's URL: `+` for a space, `%2B`, `%C3%BC`; slashes bare | `s3:TestEvent` first |
| AWS by EventBridge | as they are | names of its own: `etag`, `version-id` |
| MinIO | as in a form's URL, slashes as `%2F` | `ObjectCreated:` of retention, legal hold and tags too |
| Ceph RGW | as they are | no `s3:`; empty `versionId`; see `_ceph_sequencer` |
| SeaweedFS | as they are | entries of its filer, not this shape at all: `producer/uploads/seaweed_events.py` |

So a plain record's key is taken to be encoded, unless the record is Ceph's or the key itself shows that nobody encoded
it: a space, letters beyond ASCII, a `%` without two digits, bytes that are not UTF-8. What remains is an unknown
gateway that does not encode, with a key like `a+b.jpg` or `100%25.jpg`: read as `a b.jpg` and `100%.jpg`, which are not
there. The listing that looks for missed uploads finds such an object under its true name.
"""

import json
import re
import struct
from typing import Any
from urllib.parse import unquote_plus

from producer.uploads.seaweed_events import is_seaweed_event, read_seaweed_event
from producer.uploads.upload_event import InvalidEvent, Told, UploadEvent, is_hexadecimal, moment, place, table, text

__all__ = ["InvalidEvent", "UploadEvent", "is_later", "parse_events"]

# MinIO's, sent for `s3:ObjectCreated:*`, though no byte was written.
_NOT_WRITTEN = frozenset({"PutRetention", "PutLegalHold", "PutTagging", "DeleteTagging"})
_NEVER_ENCODED = re.compile(r'[^!-~]|["<>\\^`{|}#?\[\]]|%(?![0-9A-Fa-f]{2})')
_CEPH_SEQUENCER_DIGITS = 16


def parse_events(document: Any) -> list[UploadEvent]:
    """The uploads that a notification tells of, in its order; what is no upload (removed, restored, tagged, …) is
    passed over, and a test event is an empty list. Raise InvalidEvent.

    `document`: JSON, decoded or still text: an object of AWS, EventBridge, MinIO, Ceph or SeaweedFS, or a list of such.
    An SNS envelope is not for here: prove it with `clients.sns`, and give the text of its `Message`.
    """
    if isinstance(document, str | bytes):
        document = _loaded(document)
    if isinstance(document, list):
        return [event for number, each in enumerate(document) for event in _read(each, f"[{number}].")]
    return _read(document, "")


def is_later(a: str, b: str) -> bool:
    """Whether the event with sequencer `a` happened after that with `b`; both of one key. Raise ValueError for what is
    not hexadecimal.

    As AWS has it: the shorter is filled with zeros on the right, then they are compared as text.
    """
    if not (is_hexadecimal(a) and is_hexadecimal(b)):
        raise ValueError("a sequencer is a hexadecimal number")
    width = max(len(a), len(b))
    return a.upper().ljust(width, "0") > b.upper().ljust(width, "0")


def _loaded(document: str | bytes) -> Any:
    try:
        return json.loads(document)
    except (ValueError, RecursionError):
        raise InvalidEvent("the event is not JSON") from None


def _read(document: Any, where: str) -> list[UploadEvent]:
    event = table(document, place(where))
    if "Records" in event:
        return _records(event["Records"], where)
    if event.get("Event") == "s3:TestEvent":
        return []
    if "detail-type" in event:
        return _event_bridge(event, where)
    if is_seaweed_event(event):
        return read_seaweed_event(event, where)
    if "TopicArn" in event:
        raise InvalidEvent(f"{where}TopicArn: this is an SNS envelope; what counts is the text of its Message")
    raise InvalidEvent(f"{place(where)} has neither Records nor a detail-type: no event of S3")


def _records(records: Any, where: str) -> list[UploadEvent]:
    if not isinstance(records, list):
        raise InvalidEvent(f"{where}Records must be a list")
    return [event for number, each in enumerate(records) for event in _record(each, where=f"{where}Records[{number}].")]


def _record(record: Any, *, where: str) -> list[UploadEvent]:
    record = table(record, place(where))
    name = text(record.get("eventName"), f"{where}eventName").removeprefix("s3:")
    if not _is_written(name):
        return []
    s3 = table(record.get("s3"), f"{where}s3")
    bucket, thing = table(s3.get("bucket"), f"{where}s3.bucket"), table(s3.get("object"), f"{where}s3.object")
    is_ceph = record.get("eventSource") == "ceph:s3" or "opaqueData" in record  # the latter is Ceph's alone
    if is_ceph and name == "ObjectCreated:Post" and not thing.get("eTag"):
        return []  # Ceph before Quincy: a multipart upload was begun, and there is no object yet
    told = Told(
        where,
        bucket.get("name"),
        thing.get("key") if is_ceph else _decoded(thing.get("key")),
        thing.get("eTag"),
        _version_id(record, thing),
        _ceph_sequencer(thing.get("sequencer")) if is_ceph else thing.get("sequencer"),
        thing.get("size"),
        moment(record.get("eventTime")),
    )
    return told.checked()


def _is_written(name: str) -> bool:
    kind, _, way = name.partition(":")
    return kind == "ObjectCreated" and way not in _NOT_WRITTEN


def _decoded(key: Any) -> Any:
    if not isinstance(key, str) or _NEVER_ENCODED.search(key):
        return key
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        return key


def _version_id(record: dict[str, Any], thing: dict[str, Any]) -> Any:
    """MinIO had "1" for every object before it knew versions, which are UUIDs."""
    version_id = thing.get("versionId")
    return None if record.get("eventSource") == "minio:s3" and version_id == "1" else version_id


def _ceph_sequencer(value: Any) -> Any:
    """Ceph writes the bytes of two 32-bit integers, seconds and nanoseconds, as a little-endian machine holds them:
    numbers without order. The same moment, the higher byte first, has one.

    `F7E6D75DC742D108` of Ceph's own documentation is 0x5DD7E6F7, 13:47:35 on 22 November 2019, as its `eventTime` says.
    """
    if not isinstance(value, str) or len(value) != _CEPH_SEQUENCER_DIGITS or not is_hexadecimal(value):
        return value
    seconds, nanoseconds = struct.unpack("<II", bytes.fromhex(value))
    return f"{seconds:08X}{nanoseconds:08X}"


def _event_bridge(event: dict[str, Any], where: str) -> list[UploadEvent]:
    if event.get("source") != "aws.s3":
        raise InvalidEvent(f"{where}source must be aws.s3")
    if event["detail-type"] != "Object Created":
        return []
    detail = table(event.get("detail"), f"{where}detail")
    where = f"{where}detail."
    bucket, thing = table(detail.get("bucket"), f"{where}bucket"), table(detail.get("object"), f"{where}object")
    told = Told(
        where,
        bucket.get("name"),
        thing.get("key"),
        thing.get("etag"),
        thing.get("version-id"),
        thing.get("sequencer"),
        thing.get("size"),
        moment(event.get("time")),
    )
    return told.checked()
