"""What people do to webhook endpoints: register, rotate, replay, ping. One transaction, opened by the caller."""

import base64
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from clients.redaction import without_secrets
from models import deliveries, endpoints
from models.dispatch import notify
from models.endpoints import EndpointView
from models.events import EVENT_TYPES, PING
from producer.jobs import webhook_url_fault

EVENTS = ("*", "batch.*", "job.*", "schedule.*", *EVENT_TYPES)  # what an endpoint may be registered for
OVERLAP_S = 24 * 3600.0  # both secrets sign for so long after a change


_USUAL = ("batch.*",)  # what an endpoint is told of unless it says otherwise


class InvalidEndpoint(ValueError):  # noqa: N818
    """The URL or an event type is not what it should be; the message says what is."""


class EndpointDisabled(Exception):  # noqa: N818
    """Nothing is sent there until it is enabled."""


@dataclass(frozen=True, slots=True)
class Registered:
    """`secret` only if it is new; one that the endpoint had before stays and is not shown again."""

    id: uuid.UUID
    secret: str | None = field(repr=False)
    events: tuple[str, ...]
    is_digest: bool


def new_secret() -> str:
    """32 random bytes, as Standard Webhooks writes secrets down."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def register(
    connection: Connection,
    account_id: uuid.UUID,
    url: str,
    *,
    events: Sequence[str] | None = None,
    is_digest: bool | None = None,
    allowed_hosts: Sequence[str] = (),
) -> Registered:
    """Tell `url` of the account's events from now on, of those of batches unless `events` says otherwise.

    A URL that is known is enabled again, and changed where an argument is given.

    Raise InvalidEndpoint.
    """
    reason = webhook_url_fault(url, allowed_hosts=allowed_hosts)
    if reason is not None:
        raise InvalidEndpoint(f"{without_secrets(url)}: {reason}")
    unknown = [event for event in events or () if event not in EVENTS]
    if unknown or events == []:
        raise InvalidEndpoint(f"{', '.join(unknown) or 'no event'}: events are {', '.join(EVENTS)}")
    secret = new_secret()
    put = endpoints.put_endpoint(
        connection,
        account_id,
        url=url,
        events=None if events is None else sorted(set(events), key=EVENTS.index),
        usual=_USUAL,
        is_digest=is_digest,
        secret=secret,
        overlap_s=OVERLAP_S,
    )
    return Registered(put.id, secret if put.secret == secret else None, tuple(put.events), put.is_digest)


def rotate(
    connection: Connection, account_id: uuid.UUID, endpoint_id: uuid.UUID | None, *, overlap_s: float = OVERLAP_S
) -> str:
    """The new secret of the endpoint, or of the account; the one before signs too for `overlap_s` seconds."""
    secret = new_secret()
    endpoints.rotate_secret(connection, account_id, endpoint_id, secret=secret, overlap_s=overlap_s)
    return secret


def enable(connection: Connection, account_id: uuid.UUID, endpoint_id: uuid.UUID) -> None:
    """Send there again, at once also what waits for its next try; what was given up is for `replay`."""
    endpoints.enable_endpoint(connection, account_id, endpoint_id)
    notify(connection)


def replay(
    connection: Connection,
    endpoint: EndpointView,
    *,
    delivered_too: bool = False,
    since: datetime | None = None,
    delivery_id: uuid.UUID | None = None,
) -> int:
    """Send again what was given up (with `delivered_too` all), with the same ids; how many. Raise EndpointDisabled."""
    _check_enabled(endpoint)
    count = deliveries.replay(
        connection, endpoint.id, delivered_too=delivered_too, since=since, delivery_id=delivery_id
    )
    notify(connection)
    return count


def try_now(connection: Connection, endpoint: EndpointView) -> int:
    """What waits for its next try there is tried now; how many. Raise EndpointDisabled."""
    _check_enabled(endpoint)
    count = endpoints.try_now(connection, endpoint.id)
    notify(connection)
    return count


def ping(connection: Connection, endpoint: EndpointView) -> uuid.UUID:
    """Send a `webhook.ping`; the delivery to look at. Raise EndpointDisabled."""
    _check_enabled(endpoint)
    delivery_id = deliveries.insert_ping(connection, endpoint.id, event_type=PING)
    notify(connection)
    return delivery_id


def _check_enabled(endpoint: EndpointView) -> None:
    if endpoint.disabled_at is not None:
        raise EndpointDisabled(f"{endpoint.url} is disabled ({endpoint.disabled_reason})")
