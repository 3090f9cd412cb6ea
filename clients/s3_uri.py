"""`s3://bucket/key`, taken apart."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Self

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
LONGEST_KEY = 1_024  # bytes of UTF-8, the limit of S3


def has_control(key: str) -> bool:
    """Whether it has control characters, or halves of surrogates: S3 may have such keys, and no job names them."""
    return any(unicodedata.category(letter) in ("Cc", "Cs") for letter in key)


@dataclass(frozen=True, slots=True)
class S3Uri:
    """An object, or with an empty or partial key a prefix."""

    bucket: str
    key: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise ValueError, whose message continues "this URI …", if it is not `s3://bucket/key`."""
        scheme, separator, rest = text.partition("://")
        bucket, _, key = rest.partition("/")
        if not separator or scheme != "s3":
            raise ValueError("must begin with s3://")
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"has no valid bucket name: {bucket[:64]!r}")
        if has_control(key):
            raise ValueError("contains control characters")
        if len(key.encode()) > LONGEST_KEY:
            raise ValueError(f"has a key longer than {LONGEST_KEY} bytes")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"
