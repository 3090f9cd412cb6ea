"""API keys: made, proved, and what they let a caller do."""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBasic, HTTPBasicCredentials, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from sqlalchemy import Connection

from api.problems import Problem, unauthorized
from models.accounts import AccountRef, find_key, insert_key, spend_request, touch_key
from models.states import Scope

_PREFIX_BYTES = 6
_SECRET_BYTES = 32  # 256 random bits


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `scopes` of its key."""

    account: AccountRef
    scopes: frozenset[str]

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


def create_key(connection: Connection, account: AccountRef, *, name: str, scopes: Sequence[Scope]) -> str:
    """A new key, shown this once: `pb_<prefix>_<secret>`."""
    prefix = secrets.token_hex(_PREFIX_BYTES)
    key = f"pb_{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    insert_key(connection, account.id, name=name, prefix=prefix, sha256=_digest(key), scopes=scopes)
    return key


def _digest(key: str) -> bytes:
    """Of 256 random bits, so that no slow hash is needed."""
    return hashlib.sha256(key.encode()).digest()


def prove(connection: Connection, key: str) -> Caller:
    """Whose key it is. Raise Problem 401 for one that is malformed, unknown or revoked: all the same."""
    parts = key.split("_", 2)
    is_formed = len(parts) == 3 and parts[0] == "pb" and parts[1].isascii() and parts[1].isalnum()
    stored = find_key(connection, parts[1]) if is_formed else None
    if not hmac.compare_digest(stored.sha256 if stored else bytes(32), _digest(key)) or stored is None:
        raise unauthorized("The API key is not known, or was revoked.")
    touch_key(connection, stored.id)
    return Caller(stored.account, stored.scopes)


_bearer = HTTPBearer(auto_error=False, description="An API key, `pb_…`.")
_basic = HTTPBasic(
    auto_error=False,
    description="For GET, by browsers, and for events of S3: any user name, the API key as password.",
)


def _requiring(scope: Scope, *, basic_methods: Sequence[str] = ("GET",)) -> Callable[..., Caller]:
    def caller(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        basic: Annotated[HTTPBasicCredentials | None, Security(_basic)],
    ) -> Caller:
        """Prove the key, spend one request of its account's rate, check its scope. Raise Problem 401, 403 or 429."""
        if bearer is None and (basic is None or request.method not in basic_methods):
            raise unauthorized("No API key was sent.")
        key = bearer.credentials if bearer else basic.password if basic else ""
        with request.app.state.engine.begin() as connection:
            found = prove(connection, key)
            wait_s = spend_request(connection, found.account)
        if wait_s is not None:
            raise _too_fast(found.account, wait_s)
        if not found.may(scope):
            detail = f"This key lacks the scope `{scope}`; it has: {', '.join(sorted(found.scopes))}."
            raise Problem(HTTPStatus.FORBIDDEN, "missing_scope", detail)
        return found

    return caller


def _too_fast(account: AccountRef, wait_s: float) -> Problem:
    headers = {"Retry-After": str(max(1, round(wait_s + 0.5)))}
    detail = f"The account may send {account.requests_per_minute} requests a minute; wait as Retry-After says."
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, "rate_limited", detail, headers=headers)


Reader = Annotated[Caller, Depends(_requiring(Scope.READ))]
Submitter = Annotated[Caller, Depends(_requiring(Scope.SUBMIT))]
Operator = Annotated[Caller, Depends(_requiring(Scope.ADMIN))]
# Amazon SNS and others can put what proves them nowhere but into the URL.
EventSender = Annotated[Caller, Depends(_requiring(Scope.SUBMIT, basic_methods=("GET", "POST")))]
