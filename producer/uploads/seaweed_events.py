"""What SeaweedFS posts by `[notification.webhook]`: each change of its filer's entries, read into UploadEvents.

It has no notifications in the shape of S3. Seen of version 4.48 (and in its `weed/notification/webhook`): `key` is a
path, `/buckets/photos/in/a.jpg`; `message` holds the entry before and after it, bytes in base64, and what is zero is
left out. Versions of `a.jpg` lie in `a.jpg.versions/v_…`, parts of uploads below `.uploads`. Folders, changes of tags
or rights, and its own book-keeping come the same way, and are passed over here; `path_prefixes` and `event_types` in
its `notification.toml` can spare most of them. A post that fails four times is dropped.
"""

import binascii
import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

from producer.uploads.upload_event import Told, UploadEvent, table, text

_BUCKETS = "/buckets/"  # where `weed filer` keeps them unless told otherwise
_UPLOADS = ".uploads/"
_VERSION = re.compile(r"(?P<key>.+)\.versions/v_[^/]+", re.DOTALL)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXTENDED = "Seaweed-X-Amz-"


def is_seaweed_event(document: dict[str, Any]) -> bool:
    return "event_type" in document and "message" in document


def read_seaweed_event(document: dict[str, Any], where: str) -> list[UploadEvent]:
    """The upload, if it is one: created, overwritten or moved there. Raise InvalidEvent.

    There is no sequencer. `etag` is None for what was written past the S3 gateway without a digest.
    """
    message = table(document["message"], f"{where}message")
    if message.get("new_entry") is None:
        return []
    entry = table(message["new_entry"], f"{where}message.new_entry")
    path = _path(document, message, entry, where)
    found = _object_at(path, _extended(entry, "Version-Id"))
    if found is None or entry.get("is_directory") or _extended(entry, "Delete-Marker") == "true":
        return []
    if path == document.get("key") and not _is_rewritten(message.get("old_entry"), entry):
        return []
    return _told(where, *found, entry).checked()


def _path(document: dict[str, Any], message: dict[str, Any], entry: dict[str, Any], where: str) -> str:
    """Where the entry is now; after a move, `key` is where it was."""
    parent = message.get("new_parent_path")
    if parent is None:
        return text(document.get("key"), f"{where}key")
    parent, name = text(parent, f"{where}message.new_parent_path"), entry.get("name")
    return f"{parent.rstrip('/')}/{text(name, f'{where}message.new_entry.name')}"


def _object_at(path: str, version_id: str | None) -> tuple[str, str] | None:
    """Bucket and key; None for what is no object of a bucket."""
    if not path.startswith(_BUCKETS):
        return None
    bucket, _, key = path.removeprefix(_BUCKETS).partition("/")
    if not bucket or bucket.startswith(".") or not key or key.startswith(_UPLOADS):
        return None
    version = _VERSION.fullmatch(key) if version_id else None
    return bucket, version["key"] if version else key


def _is_rewritten(old: Any, new: dict[str, Any]) -> bool:
    """Tags and rights change an entry and leave these alone."""
    return not isinstance(old, dict) or _written(old) != _written(new)


def _written(entry: dict[str, Any]) -> list[Any]:
    """What every write changes. Not where a chunk lies: SeaweedFS moves them about."""
    attributes, chunks = _table(entry.get("attributes")), entry.get("chunks")
    moved = [_table(each) for each in chunks] if isinstance(chunks, list) else []
    told = [[chunk.get(name) for name in ("offset", "size", "modified_ts_ns", "e_tag")] for chunk in moved]
    return [told, entry.get("content"), *(attributes.get(name) for name in ("md5", "file_size", "mtime", "mtime_ns"))]


def _told(where: str, bucket: str, key: str, entry: dict[str, Any]) -> Told:
    attributes = _table(entry.get("attributes"))
    digest = _bytes(attributes.get("md5"))
    return Told(
        where,
        bucket,
        key,
        etag=_extended(entry, "ETag") or (digest.hex() if digest else None),
        version_id=_extended(entry, "Version-Id"),
        size=attributes.get("file_size", 0) if attributes else None,
        at=_moment(attributes),
    )


def _moment(attributes: dict[str, Any]) -> datetime | None:
    seconds, nanoseconds = attributes.get("mtime"), attributes.get("mtime_ns", 0)
    if type(seconds) is not int or type(nanoseconds) is not int:
        return None
    try:
        return _EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1_000)
    except OverflowError:
        return None


def _extended(entry: dict[str, Any], name: str) -> str | None:
    value = _bytes(_table(entry.get("extended")).get(_EXTENDED + name))
    return value.decode(errors="replace") if value else None


def _bytes(value: Any) -> bytes | None:
    try:
        return b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
