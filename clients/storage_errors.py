"""What can go wrong with storage, and boto's exceptions in these words.

StorageError                  is_retryable, code
├── StorageUnavailable        retryable: no connection, 5xx, throttled, or bytes damaged on the way
├── ObjectMissing             no such key
├── ObjectChanged             the key holds other bytes than the caller knows of
├── ObjectExists              the key holds other bytes, see `info`
├── ObjectTooLarge            more bytes than the caller takes
├── BucketMissing             no such bucket
└── AccessDenied              wrong or no credentials, or not permitted
"""

# ruff: noqa: N818 - the names say what happened, the tree that they are errors

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

import urllib3.exceptions
from botocore import exceptions as boto

from clients.redaction import without_secrets
from clients.s3_objects import ObjectInfo


class StorageError(Exception):
    """`code` is stable; only StorageUnavailable is worth the same call again."""

    code: ClassVar[str] = "storage_error"
    is_retryable: ClassVar[bool] = False


class StorageUnavailable(StorageError):
    code = "storage_unavailable"
    is_retryable = True


class ObjectMissing(StorageError):
    code = "object_missing"


class ObjectChanged(StorageError):
    code = "object_changed"


class ObjectTooLarge(StorageError):
    code = "object_too_large"


class BucketMissing(StorageError):
    code = "bucket_missing"


class AccessDenied(StorageError):
    code = "access_denied"


class ObjectExists(StorageError):
    """`info`: what is at the key."""

    code = "object_exists"

    def __init__(self, info: ObjectInfo) -> None:
        super().__init__(f"s3://{info.bucket}/{info.key} holds another object of {info.size} bytes")
        self.info = info


_KINDS: Mapping[str, type[StorageError]] = {
    "404": ObjectMissing,
    "NoSuchKey": ObjectMissing,
    "NotFound": ObjectMissing,
    "NoSuchVersion": ObjectMissing,
    "405": ObjectMissing,  # HEAD of a version that says that the object was deleted
    "NoSuchBucket": BucketMissing,
    "403": AccessDenied,
    "AccessDenied": AccessDenied,
    "ExpiredToken": AccessDenied,
    "InvalidAccessKeyId": AccessDenied,
    "RequestTimeTooSkewed": StorageUnavailable,  # this host's clock is wrong; another worker's may be right
    "SignatureDoesNotMatch": AccessDenied,
    "BadDigest": StorageUnavailable,
    "ConditionalRequestConflict": StorageUnavailable,
    "IncompleteBody": StorageUnavailable,
    "OperationAborted": StorageUnavailable,
    "RequestTimeout": StorageUnavailable,
    "SlowDown": StorageUnavailable,
    "Throttling": StorageUnavailable,
    "XAmzContentSHA256Mismatch": StorageUnavailable,
}
_CREDENTIALS = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise StorageError in place of boto's exceptions. `what` begins the message, e.g. `s3://bucket/key`."""
    try:
        yield
    except boto.ClientError as error:
        raise _refusal(what, error) from error
    except _CREDENTIALS as error:
        raise AccessDenied(without_secrets(f"{what}: {error}")) from error
    except (boto.ParamValidationError, boto.EndpointProviderError) as error:
        raise StorageError(f"{what}: {error}") from error
    except (boto.BotoCoreError, urllib3.exceptions.HTTPError) as error:
        raise StorageUnavailable(without_secrets(f"{what}: {type(error).__name__}: {error}"[:500])) from error


def status_of(error: boto.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _refusal(what: str, error: boto.ClientError) -> StorageError:
    code, message = error.response.get("Error", {}).get("Code", ""), error.response.get("Error", {}).get("Message", "")
    kind = _KINDS.get(code, StorageError)
    if status_of(error) >= 500 or status_of(error) == 429:
        kind = StorageUnavailable
    elif status_of(error) == 403 and code not in _KINDS:
        kind = AccessDenied
    return kind(without_secrets(f"{what}: {code}: {message}"[:500]))
