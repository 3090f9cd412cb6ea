"""What a run may be about: photos in files, objects in buckets, addresses; and what each is called in its batch."""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from clients.output_keys import clean_path
from clients.s3_objects import ObjectInfo
from clients.s3_uri import S3Uri

LONGEST_ID = 512  # characters, docs/contract.md
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif"})  # what Phota takes

_ENDINGS = tuple(SUFFIXES)
_HASH_DIGITS = 16


class NoSuchSource(ValueError):  # noqa: N818
    """A path that does not exist, or cannot be read."""


@dataclass(frozen=True, slots=True)
class Address:
    """A picture that is out there already and is not looked at: https://, or s3://bucket/key."""

    url: str

    @property
    def custom_id(self) -> str:
        return fitting_id(self.url)


@dataclass(frozen=True, slots=True)
class Photo:
    """A file and what it is called in its batch: its path below the folder that was named."""

    path: Path
    custom_id: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a bucket, as storage told of it: `etag` without quotes, `bytes` its size."""

    uri: S3Uri
    etag: str
    bytes: int
    custom_id: str

    @classmethod
    def of(cls, info: ObjectInfo, custom_id: str) -> "StoredObject":
        return cls(S3Uri(info.bucket, info.key), info.etag.strip('"'), info.size, custom_id)


Picture = Photo | Address | StoredObject


def is_picture(path: str) -> bool:
    """By the name alone: it has a picture's suffix, and neither it nor a folder above is hidden."""
    return path.lower().endswith(_ENDINGS) and not path.startswith(".") and "/." not in path


def fitting_id(name: str) -> str:
    """`name` as a custom_id, different for different names.

    One that is too long, or has to be cleaned of control characters, `..` or empty parts, ends in `~` and a hash.
    """
    clean = name if "://" in name else clean_path(name)
    if clean == name and len(name) <= LONGEST_ID:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{clean[: LONGEST_ID - _HASH_DIGITS - 1]}~{digest}"


def first_free(names: Iterable[str], taken: Collection[str]) -> str:
    """The first of `names` that is not taken, else the last with a number: `trip-2`."""
    several = list(names)
    numbered = (f"{several[-1]}-{number}" for number in count(2))
    return next(name for name in chain(several, numbered) if name not in taken)
