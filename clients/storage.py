"""S3-compatible storage in a few blocking verbs, for threads: `await asyncio.to_thread(storage.put, …)`.

Its errors are drawn in storage_errors.py.

Nothing is ever overwritten, but for a broken copy of the very bytes that are put. An output's key belongs to one job
and number, so a second try, or a worker that had lost its lease, finds its own bytes there: `put` compares and accepts
them. Other bytes raise ObjectExists with what is there, and the first write stands: a row that names it stays true.
(A server that does not know `If-None-Match` is asked first instead, which leaves a moment between; one that ignores it
silently would overwrite.) What was put is asked for before it counts: a server may answer 200 and have stored half.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Self

from clients.output_keys import DEFAULT_TEMPLATE, output_key, validate_template
from clients.s3_client import DEFAULT_REGION, Addressing, new_s3_client
from clients.s3_objects import ObjectInfo, file_sha256, info_of, same_etag
from clients.s3_puts import MULTIPART_BYTES, Putter, Upload, head
from clients.s3_uri import S3Uri
from clients.storage_errors import (
    AccessDenied,
    BucketMissing,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    ObjectTooLarge,
    StorageError,
    StorageUnavailable,
    translated,
)
from settings import Settings

__all__ = [
    "DEFAULT_TEMPLATE",
    "AccessDenied",
    "BucketMissing",
    "ObjectChanged",
    "ObjectExists",
    "ObjectInfo",
    "ObjectMissing",
    "ObjectTooLarge",
    "S3Uri",
    "Storage",
    "StorageError",
    "StorageUnavailable",
    "output_key",
    "validate_template",
]

_CHUNK = 2**20  # bytes read from a stream at once


class Storage:
    """One endpoint. Thread-safe; every method raises StorageError. Buckets and keys are taken as they are."""

    def __init__(
        self,
        *,
        endpoint_url: str | None,
        addressing: Addressing = "auto",
        max_connections: int = 32,
        region: str | None = None,
    ) -> None:
        """`endpoint_url`: None means AWS. Credentials and, without `region`, the region are found as boto3 does."""
        self._s3 = new_s3_client(endpoint_url, addressing=addressing, max_connections=max_connections, region=region)
        self._putter = Putter(self._s3)

    @classmethod
    def from_settings(cls, settings: Settings, *, max_connections: int = 32) -> Self:
        return cls(
            endpoint_url=settings.s3_endpoint_url,
            addressing=settings.s3_addressing,
            max_connections=max_connections,
            region=settings.aws_region,
        )

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str,
        sha256_hex: str,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Store `data` unless the key is taken, verified by the server; what is there afterwards.

        Raise ObjectExists if other bytes are there. Values of `metadata` beyond ASCII are kept percent-encoded.
        """
        return self._putter.put(Upload(bucket, key, data, len(data), content_type, sha256_hex, metadata or {}))

    def upload_file(
        self, bucket: str, key: str, path: Path, content_type: str, *, metadata: Mapping[str, str] | None = None
    ) -> ObjectInfo:
        """Store a file as `put` stores bytes, in parts from 64 MiB on. Raise OSError if it cannot be read."""
        sha256_hex, size = file_sha256(path)
        with path.open("rb") as file:
            body = path if size >= MULTIPART_BYTES else file
            return self._putter.put(Upload(bucket, key, body, size, content_type, sha256_hex, metadata or {}))

    def copy_to(self, bucket: str, key: str, file: IO[bytes], *, sha256_hex: str | None = None) -> ObjectInfo:
        """Append an object to `file`, chunk by chunk; where this raises, what was written so far is good for nothing.

        Raise ObjectChanged if it is whole, but not the bytes of `sha256_hex`; OSError if it cannot be written.
        """
        digest, size = hashlib.sha256(), 0
        with translated(f"s3://{bucket}/{key}"):
            answer = self._s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
            for chunk in answer["Body"].iter_chunks(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
        info = info_of(bucket, key, answer)
        if size != info.size or info.sha256 not in (None, digest.hexdigest()):
            raise StorageUnavailable(f"s3://{bucket}/{key} did not arrive as it was stored")
        if sha256_hex not in (None, digest.hexdigest()):
            raise ObjectChanged(f"s3://{bucket}/{key} holds other bytes by now")
        return info

    def get(
        self, bucket: str, key: str, *, max_bytes: int, version_id: str | None = None, etag: str | None = None
    ) -> bytes:
        """The object's bytes.

        Raise, before reading, ObjectTooLarge if they are more than `max_bytes`, ObjectChanged if not those of `etag`.
        """
        with translated(f"s3://{bucket}/{key}"):
            answer = self._s3.get_object(Bucket=bucket, Key=key, **_version(version_id))
            with closing(answer["Body"]) as body:
                _check_etag(bucket, key, answer["ETag"], etag)
                if (size := answer["ContentLength"]) > max_bytes:
                    raise ObjectTooLarge(f"s3://{bucket}/{key} has {size} bytes, more than {max_bytes}")
                data = body.read()
        if len(data) != answer["ContentLength"]:
            raise StorageUnavailable(f"s3://{bucket}/{key} broke off after {len(data)} bytes")
        return data

    def get_start(self, bucket: str, key: str, *, size: int) -> tuple[bytes, ObjectInfo]:
        """The object's first `size` bytes, or all of them, and what it is."""
        with translated(f"s3://{bucket}/{key}"):
            answer = self._s3.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{size - 1}")
            return answer["Body"].read(), info_of(bucket, key, answer)

    def head(self, bucket: str, key: str, *, version_id: str | None = None) -> ObjectInfo | None:
        """What is at the key, or was in that version; None if nothing is."""
        return head(self._s3, bucket, key, version_id=version_id)

    def check_unchanged(self, bucket: str, key: str, *, etag: str) -> None:
        """Raise ObjectChanged if the object is not the one of `etag` any more, ObjectMissing if it is gone."""
        info = self.head(bucket, key)
        if info is None:
            raise ObjectMissing(f"s3://{bucket}/{key} is gone")
        _check_etag(bucket, key, info.etag, etag)

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object below `prefix` in the order of keys, 1,000 at a time; without checksums and metadata."""
        with translated(f"s3://{bucket}/{prefix}"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for each in page.get("Contents", []):
                    yield ObjectInfo(bucket, each["Key"], each["Size"], each["ETag"], each["LastModified"])

    def presign(self, bucket: str, key: str, *, expires_s: int, version_id: str | None = None) -> str:
        """A URL that anybody may GET for `expires_s` seconds; nothing is asked of the server."""
        with translated(f"s3://{bucket}/{key}"):
            wanted = {"Bucket": bucket, "Key": key, **_version(version_id)}
            return self._s3.generate_presigned_url("get_object", wanted, expires_s)

    def ensure_bucket(self, bucket: str) -> None:
        """Create the bucket if it is not there."""
        try:
            with translated(f"s3://{bucket}"):
                self._s3.head_bucket(Bucket=bucket)
        except (ObjectMissing, BucketMissing):
            self._create_bucket(bucket)

    def close(self) -> None:
        self._s3.close()

    def _create_bucket(self, bucket: str) -> None:
        fields: dict[str, Any] = {"Bucket": bucket}
        if (region := self._s3.meta.region_name) != DEFAULT_REGION:  # which AWS refuses to be told
            fields["CreateBucketConfiguration"] = {"LocationConstraint": region}
        with translated(f"s3://{bucket}"):
            try:
                self._s3.create_bucket(**fields)
            except (self._s3.exceptions.BucketAlreadyOwnedByYou, self._s3.exceptions.BucketAlreadyExists):
                return


def _check_etag(bucket: str, key: str, found: str, wanted: str | None) -> None:
    if wanted is not None and not same_etag(found, wanted):
        raise ObjectChanged(f"s3://{bucket}/{key} was overwritten after it was listed; run again for what is there now")


def _version(version_id: str | None) -> dict[str, Any]:
    """None: the newest."""
    return {} if version_id is None else {"VersionId": version_id}
