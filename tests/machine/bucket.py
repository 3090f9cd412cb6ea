"""Storage in memory, with the manners of clients/storage.py: nothing is overwritten, the same bytes are welcome."""

from dataclasses import dataclass, field

from clients.s3_objects import ObjectInfo
from clients.storage import AccessDenied, ObjectExists, ObjectMissing, StorageUnavailable

INPUTS = "photos"


@dataclass(slots=True)
class Bucket:
    """All buckets. `fault`: what the next call meets; it is over with that."""

    objects: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)  # SHA-256 and bytes
    fault: str | None = None

    def put(self, bucket: str, key: str, data: bytes, *, sha256_hex: str, **_described: object) -> ObjectInfo:
        fault, self.fault = self.fault, None
        if fault == "refused":
            raise StorageUnavailable("SlowDown")
        if fault == "denied":
            raise AccessDenied("AccessDenied")
        sha256, _ = self.objects.setdefault((bucket, key), (sha256_hex, data))
        if fault == "cut":
            raise StorageUnavailable("no answer")
        info = ObjectInfo(bucket, key, len(data), "etag", sha256=sha256)
        if sha256 != sha256_hex:
            raise ObjectExists(info)
        return info

    def get(self, bucket: str, key: str, **_wanted: object) -> bytes:
        fault, self.fault = self.fault, None
        if fault in ("refused", "cut"):
            raise StorageUnavailable("SlowDown")
        if fault == "denied":
            raise ObjectMissing(f"s3://{bucket}/{key}")
        return b"a photo"
