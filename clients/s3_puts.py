"""How an object is put: never over another one, and looked at afterwards, whatever the server has answered."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from clients.s3_objects import ObjectInfo, base64_of, info_of, metadata_of
from clients.storage_errors import AccessDenied, ObjectExists, ObjectMissing, StorageUnavailable, status_of, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MULTIPART_BYTES = 64 * 2**20  # below it one PUT is cheaper and carries the checksum of the whole
_CHUNK = 2**20  # bytes read from a stream at once
_TAKEN = (409, 412)  # somebody puts it in this moment, or has put it


@dataclass(frozen=True, slots=True)
class Upload:
    """What is to be put. `body`: bytes, an open file, or the path of one that goes up in parts; `size` in bytes."""

    bucket: str
    key: str
    body: bytes | IO[bytes] | Path
    size: int
    content_type: str
    sha256_hex: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def fields(self) -> dict[str, Any]:
        """Of a PUT, with the body at its beginning."""
        if not isinstance(self.body, bytes | Path):
            self.body.seek(0)
        return {
            "Bucket": self.bucket,
            "Key": self.key,
            "Body": self.body,
            "ContentType": self.content_type,
            "ChecksumSHA256": base64_of(self.sha256_hex),
            "Metadata": metadata_of(self.sha256_hex, self.metadata),
        }

    def as_told(self, etag: str) -> ObjectInfo:
        """As the server should have it."""
        kept = metadata_of(self.sha256_hex, self.metadata)
        return ObjectInfo(self.bucket, self.key, self.size, etag, None, self.sha256_hex, self.content_type, kept)


class Putter:
    """Of one endpoint; learns whether it knows `If-None-Match`. Thread-safe."""

    def __init__(self, s3: "S3Client") -> None:
        self._s3 = s3
        self._is_conditional = True

    def put(self, upload: Upload) -> ObjectInfo:
        """What is at the key afterwards: those bytes, in the size and with the checksum that the server tells of them.

        A broken copy of the same bytes (of a server that took half and answered 200, or died in the middle) is put once
        more. Who may write and not read has the word of the server, which was given the checksum. Raise ObjectExists if
        the key holds other bytes, StorageUnavailable if the copy stays broken.
        """
        broken: ObjectInfo | None = None
        for _ in range(2):
            with translated(str(upload)):
                etag = self._send(upload, broken)
            try:
                return self._same(upload)
            except AccessDenied:
                if etag is None:
                    raise
                return upload.as_told(etag)
            except ObjectExists as error:
                if not error.info.is_broken_copy(upload.sha256_hex, upload.size):
                    raise
                broken = error.info
        raise StorageUnavailable(f"{upload}: {broken and broken.size} bytes were stored of {upload.size}")

    def _send(self, upload: Upload, broken: ObjectInfo | None) -> str | None:
        """The ETag that the server told of one PUT. Nothing is sent where there is an object other than `broken`."""
        if not isinstance(upload.body, Path):
            return self._put_new(upload) if broken is None else self._put_over(upload, broken.etag)
        if broken or head(self._s3, upload.bucket, upload.key) is None:  # no server takes parts conditionally
            self._send_parts(upload)
        return None

    def _put_new(self, upload: Upload) -> str | None:
        """The ETag that the server told; None if the key is taken."""
        if self._is_conditional:
            try:
                return self._s3.put_object(**upload.fields(), IfNoneMatch="*")["ETag"]
            except ClientError as error:
                if status_of(error) in _TAKEN:
                    return None
                if status_of(error) != 501:
                    raise
                self._is_conditional = False
        if head(self._s3, upload.bucket, upload.key) is not None:
            return None
        return self._s3.put_object(**upload.fields())["ETag"]

    def _put_over(self, upload: Upload, etag: str) -> str | None:
        """Over that object alone, where the server knows `If-Match`."""
        try:
            return self._s3.put_object(**upload.fields(), IfMatch=etag)["ETag"]
        except ClientError as error:
            if status_of(error) in _TAKEN:
                return None
            if status_of(error) != 501:
                raise
        return self._s3.put_object(**upload.fields())["ETag"]

    def _send_parts(self, upload: Upload) -> None:
        parts = TransferConfig(multipart_threshold=MULTIPART_BYTES, use_threads=False)
        extra = {
            "ContentType": upload.content_type,
            "ChecksumAlgorithm": "SHA256",
            "Metadata": metadata_of(upload.sha256_hex, upload.metadata),
        }
        self._s3.upload_file(str(upload.body), upload.bucket, upload.key, ExtraArgs=extra, Config=parts)

    def _same(self, upload: Upload) -> ObjectInfo:
        """What is at the key, if it is these bytes. Raise ObjectExists if it is not."""
        info = head(self._s3, upload.bucket, upload.key)
        if info is None:
            raise StorageUnavailable(f"{upload} was put, or taken, and is gone")
        if info.size != upload.size or (info.sha256 or self._read_sha256(upload)) != upload.sha256_hex:
            raise ObjectExists(info)
        return info

    def _read_sha256(self, upload: Upload) -> str:
        digest = hashlib.sha256()
        with translated(str(upload)):
            for chunk in self._s3.get_object(Bucket=upload.bucket, Key=upload.key)["Body"].iter_chunks(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()


def head(s3: "S3Client", bucket: str, key: str, *, version_id: str | None = None) -> ObjectInfo | None:
    """What is at the key, or was in that version; None if nothing is. Raise StorageError."""
    version: dict[str, Any] = {} if version_id is None else {"VersionId": version_id}
    try:
        with translated(f"s3://{bucket}/{key}"):
            answer = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED", **version)
    except ObjectMissing:
        return None
    return info_of(bucket, key, answer)
