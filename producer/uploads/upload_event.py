"""One object that was uploaded, whoever told of it, and the checks that all who tell of one share."""

import logging
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clients.s3_uri import S3Uri

log = logging.getLogger(__name__)

_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]+")
_LONGEST_WORD = 1_024  # characters of an ETag, a version or a sequencer; AWS has versions of up to 1,024 bytes
_MOST_BYTES = 2**63 - 1


class InvalidEvent(ValueError):  # noqa: N818 - what it is
    """The message says, for people, what is wrong and where."""


@dataclass(frozen=True, slots=True)
class UploadEvent:
    """`key`: decoded, otherwise as its uploader spelled it (Unicode is not normalised).

    `etag`: without quotes, lower case. `version_id`: None without versioning, for "null" too. `sequencer`:
    hexadecimal, compare with `is_later` of `s3_events`, among events of one key only. `bytes` and `at`, when it was
    uploaded, in UTC: None where not told or not readable.
    """

    bucket: str
    key: str
    etag: str | None
    version_id: str | None
    sequencer: str | None
    bytes: int | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Told:
    """What an event says, not yet believed; `key` is decoded, and `where` says what it all stands below."""

    where: str
    bucket: Any
    key: Any
    etag: Any = None
    version_id: Any = None
    sequencer: Any = None
    size: Any = None
    at: datetime | None = None

    def checked(self) -> list[UploadEvent]:
        """The event; none where no job could be made of it, for another try would change nothing: a folder's marker,
        or a key with control characters (macOS names files "Icon\\r"). Raise InvalidEvent."""
        bucket, key = text(self.bucket, f"{self.where}bucket"), text(self.key, f"{self.where}key")
        if key.endswith("/"):
            return []
        if any(unicodedata.category(letter) == "Cc" for letter in key):
            log.warning("an upload to %s is passed over: its key has control characters: %r", bucket[:64], key[:200])
            return []
        try:
            uri = S3Uri.parse(f"s3://{bucket}/{key}")
        except ValueError as error:
            raise InvalidEvent(f"{place(self.where)}: its s3:// URI {error}") from None
        if uri.bucket != bucket:
            raise InvalidEvent(f"{self.where}bucket is no bucket's name: {bucket[:64]!r}")
        return [self._event(bucket, key)]

    def _event(self, bucket: str, key: str) -> UploadEvent:
        etag, version_id = _word(self.etag, f"{self.where}eTag"), _word(self.version_id, f"{self.where}versionId")
        return UploadEvent(
            bucket,
            key,
            (etag or "").strip('"').lower() or None,
            None if version_id == "null" else version_id,
            _hexadecimal(self.sequencer, f"{self.where}sequencer"),
            _size(self.size),
            self.at,
        )


def text(value: Any, name: str) -> str:
    """`value` if it is a string that is not empty. Raise InvalidEvent."""
    if not isinstance(value, str) or not value:
        raise InvalidEvent(f"{name} must be a text, {_kind(value)}")
    return value


def table(value: Any, name: str) -> dict[str, Any]:
    """`value` if it is an object. Raise InvalidEvent."""
    if not isinstance(value, dict):
        raise InvalidEvent(f"{name} must be an object, {_kind(value)}")
    return value


def moment(value: Any) -> datetime | None:
    """`value`, ISO 8601 with or without a zone, in UTC; None for anything else."""
    try:
        told = datetime.fromisoformat(value)
        return told.replace(tzinfo=told.tzinfo or UTC).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):  # none, no moment, or one that UTC has in the year 10000
        return None


def place(where: str) -> str:
    """`where` as a sentence begins with it."""
    return where.rstrip(".") or "the event"


def is_hexadecimal(value: str) -> bool:
    return _HEXADECIMAL.fullmatch(value) is not None


def _word(value: Any, name: str) -> str | None:
    """A short printable text; "" is None, as Ceph sends it."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _LONGEST_WORD or not value.isprintable():
        raise InvalidEvent(f"{name} must be a short text in one line, {_kind(value)}")
    return value


def _hexadecimal(value: Any, name: str) -> str | None:
    """What is no hexadecimal number gives no order, and is none."""
    word = _word(value, name)
    return word if word and is_hexadecimal(word) else None


def _size(value: Any) -> int | None:
    """Bytes; Ceph's documentation has them as a text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= len(str(_MOST_BYTES)):
        value = int(value)
    is_size = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_BYTES
    return value if is_size else None


def _kind(value: Any) -> str:
    """What it is instead, to end a sentence."""
    if value is None:
        return "and is missing"
    if isinstance(value, str):
        return "and is not" if value else "and is empty"
    names = {dict: "not an object", list: "not a list", bool: "not true or false"}
    return names.get(type(value), "not a number")
