"""How an object of S3 is described, and what is kept with it."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

JOB_MARK = "photabatch-job"
"""Metadata of every output: the id of its job."""
INPUT_MARK = "photabatch-input"
"""Metadata of every photo that was uploaded for a job: its SHA-256."""
_SHA256 = "photabatch-sha256"  # metadata, for servers that keep no checksums


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as storage describes it. `sha256`: hex, None where storage does not know it; `version_id`: None too
    in a bucket without versions."""

    bucket: str
    key: str
    size: int  # bytes
    etag: str
    last_modified: datetime | None = None
    sha256: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    version_id: str | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it was put there by photabatch, as an output or as an input of its own. A listing does not tell."""
        return not {name.lower() for name in self.metadata}.isdisjoint((JOB_MARK, INPUT_MARK))

    def is_broken_copy(self, sha256_hex: str, size: int) -> bool:
        """Whether it was put as those bytes, as its metadata says, and is not them."""
        said = {name.lower(): text for name, text in self.metadata.items()}.get(_SHA256)
        return said == sha256_hex and (self.size != size or self.sha256 != sha256_hex)


def same_etag(one: str, other: str) -> bool:
    """Listings, answers and events write the same ETag with and without its quotes."""
    return _bare(one) == _bare(other)


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"').lower()


def file_sha256(path: Path) -> tuple[str, int]:
    """SHA-256 in hex, and size in bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def base64_of(sha256_hex: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256_hex)).decode()


def metadata_of(sha256_hex: str, metadata: Mapping[str, str]) -> dict[str, str]:
    plain = {name: text if text.isascii() and text.isprintable() else quote(text) for name, text in metadata.items()}
    return {**plain, _SHA256: sha256_hex}


def info_of(bucket: str, key: str, answer: Mapping[str, Any]) -> ObjectInfo:
    """From the answer to a HEAD or GET."""
    metadata = answer.get("Metadata", {})
    checksum = answer.get("ChecksumSHA256", "")
    is_of_parts = "-" in checksum or answer.get("ChecksumType") == "COMPOSITE"
    sha256 = base64.b64decode(checksum).hex() if checksum and not is_of_parts else metadata.get(_SHA256)
    return ObjectInfo(
        bucket=bucket,
        key=key,
        size=answer["ContentLength"],
        etag=answer["ETag"],
        last_modified=answer.get("LastModified"),
        sha256=sha256,
        content_type=answer.get("ContentType"),
        metadata=metadata,
        version_id=None if answer.get("VersionId") == "null" else answer.get("VersionId"),
    )
