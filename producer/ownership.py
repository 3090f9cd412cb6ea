"""What belongs to whom: what of the storage an account's jobs may name, where its own objects go, how much may wait."""

import uuid
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Connection

from clients.output_keys import DEFAULT_TEMPLATE
from clients.phota_requests import InvalidRequest, Params, Problem
from clients.s3_uri import S3Uri
from models import DEFAULT_ACCOUNT
from models.accounts import AccountRef, lock_queue, read_account

LONE_TEMPLATE = "jobs/{job_id}-{index}.{ext}"
_INPUTS = "inputs/"

OPERATOR = AccountRef(DEFAULT_ACCOUNT, "default", None, None, None)


class QueueFull(Exception):  # noqa: N818 - the contract's word
    """The account has as many jobs waiting as it may; nothing was queued."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the account may have {limit} jobs waiting, and these would be more")
        self.limit = limit


@dataclass(frozen=True)
class Owner:
    """An account, and `bucket`, where its uploads go and, unless a job says otherwise, its outputs."""

    account: AccountRef
    bucket: str

    @cached_property
    def folder(self) -> str:
        """Below which its own objects lie: nothing for the operator, whose bucket it is."""
        return "" if self.account.id == DEFAULT_ACCOUNT else f"accounts/{self.account.id}/"

    def input_key(self, sha256: str, extension: str) -> str:
        """Of an uploaded photo: named by its content."""
        return f"{self.folder}{_INPUTS}{sha256}.{extension}"

    def default_output(self, *, in_batch: bool) -> str:
        template = DEFAULT_TEMPLATE if in_batch else LONE_TEMPLATE
        return str(S3Uri(self.bucket, self.folder + template))

    def check_inputs(self, params: Params) -> None:
        """Raise InvalidRequest for every `s3://` address that the account may not read."""
        if self.account.s3_prefixes is None:
            return
        foreign = [name for name, uri in _addresses(params) if not self._may_use(uri)]
        if foreign:
            raise InvalidRequest([self._problem(name) for name in foreign])

    def check_output(self, output: str | None) -> None:
        """Raise InvalidRequest if the account may not write there."""
        if self.account.s3_prefixes is not None and output is not None and not self._may_use(output):
            raise InvalidRequest([self._problem("output")])

    @cached_property
    def _prefixes(self) -> tuple[str, ...]:
        """Those of the account, each ending in a slash, and where its own objects lie."""
        own = f"s3://{self.bucket}/{self.folder or _INPUTS}"
        return tuple(dict.fromkeys([own, *(f"{each.rstrip('/')}/" for each in self.account.s3_prefixes or ())]))

    def _may_use(self, uri: str) -> bool:
        """Dots between slashes are plain characters to S3, but not to everything that reads a URL."""
        is_dotted = any(part in (".", "..") for part in uri.split("/"))
        return uri.startswith(self._prefixes) and not is_dotted

    def _problem(self, name: str) -> Problem:
        return Problem(name, "not_allowed", f"{name}: must be below {' or '.join(self._prefixes)}")


def _addresses(params: Params) -> list[tuple[str, str]]:
    """The `s3://` addresses that a job reads, with the names of their fields."""
    found: list[tuple[str, str]] = []
    for field in params.image_fields:
        value = getattr(params, field)
        several = [(f"{field}[{index}]", each) for index, each in enumerate(value)] if isinstance(value, list) else []
        found += several or [(field, value)]
    return [(name, uri) for name, uri in found if uri.startswith("s3://")]


def owner_of(connection: Connection, account_id: uuid.UUID, *, bucket: str) -> Owner:
    """Raise LookupError if there is no such account."""
    if account_id == DEFAULT_ACCOUNT:
        return Owner(OPERATOR, bucket)
    account = read_account(connection, account_id)
    if account is None:
        raise LookupError(f"no account {account_id}")
    return Owner(account, bucket)


class Room:
    """How many more jobs an account may queue in this transaction; others of the account wait for its commit."""

    def __init__(self, connection: Connection, account: AccountRef) -> None:
        self._limit = account.queue_limit
        self._left = lock_queue(connection, account)

    def take(self, jobs: int) -> None:
        """Count jobs that were queued just now. Raise QueueFull, which must end the transaction."""
        if self._left is None or self._limit is None:
            return
        self._left -= jobs
        if self._left < 0:
            raise QueueFull(self._limit)
