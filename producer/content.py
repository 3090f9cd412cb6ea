"""What a job does, to which bytes, in one word: jobs of the same content are charged once.

A content key is the SHA-256 of the account, the operation and all its parameters, each image by its identity instead of
its address: `sha256:…` of a file's bytes, `etag:…` of an object, or the address itself where nothing tells more.
Who makes jobs of pictures gives them a key; a job without one is never taken for done before.
"""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import replace

from pydantic_core import to_json

from clients.phota_requests import Params, images_of, with_images
from models import DEFAULT_ACCOUNT
from producer.jobs import CheckedJob


def identity_of_bytes(sha256_hex: str) -> str:
    return f"sha256:{sha256_hex}"


def identity_of_object(etag: str, size: int) -> str:
    """Of an object as a listing shows it: most servers' ETag is the MD5 of what was put at once.

    Where it is not (parts, server-side encryption) equal bytes may have different ones: then they are done twice.
    """
    return f"etag:{etag.strip(chr(34)).lower()}:{size}"


def with_content(
    job: CheckedJob,
    identities: Sequence[str] | None = None,
    *,
    account_id: uuid.UUID = DEFAULT_ACCOUNT,
    is_redo: bool = False,
) -> CheckedJob:
    """The job with its content key; `identities` of its images in their order, None: their addresses.

    One without images has a key only by its custom_id: the same words may well be meant to give other pictures.
    `is_redo`: only what its own batch has done counts as done before. Raise ValueError if the numbers differ.
    """
    images = images_of(job.params)
    if not images and job.spec.custom_id is None:
        return job
    known = with_images(job.params, list(images if identities is None else identities))
    key = content_key(known, account_id=account_id, custom_id=None if images else job.spec.custom_id)
    return replace(job, content_key=key, is_redo=is_redo)


def content_key(params: Params, *, account_id: uuid.UUID, custom_id: str | None = None) -> str:
    """64 hexadecimal digits; `params` with identities in place of images."""
    body = dict(sorted(params.body().items()))
    return hashlib.sha256(to_json([str(account_id), params.operation, body, custom_id])).hexdigest()
