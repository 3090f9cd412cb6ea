"""Celery task `trigger.repair`: a listing finds the uploads that no event told of."""

import functools
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

from celery import shared_task
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from clients.failpoints import pass_point
from clients.s3_objects import ObjectInfo
from clients.storage import Storage, StorageError
from models.triggers import LEASE_S, RepairLease, TriggerRow, claim_repairs, keep_repair, read_trigger, release_repair
from producer.database import default_engine
from producer.listings import Listings, stopping
from producer.ownership import QueueFull, owner_of
from producer.schedules.heartbeat import kept
from producer.uploads.arrivals import GROUP, Accepted, Reception, take
from producer.uploads.trigger_rules import is_recent, is_wanted
from producer.uploads.upload_event import UploadEvent
from settings import Settings, get_settings

log = logging.getLogger(__name__)

_BEATS = 4  # in a lease: three may be lost
_AGAIN_S = 60.0  # after a listing that did not come to its end
_AWAY = (StorageError, DBAPIError, PoolTimeout, QueueFull)


class _LeaseLost(Exception):  # noqa: N818
    """Somebody else has the trigger by now, or it was removed."""


class _Stopping(Exception):  # noqa: N818
    """The worker ends; another one lists anew."""


@shared_task(name="trigger.repair")
def repair(ids: list[str]) -> None:
    """A doorway: those of the triggers that wait for it are listed."""
    _listings().start(ids)


@functools.cache
def _listings() -> Listings:
    """One per process."""
    engine, storage, settings = default_engine(), _storage(), get_settings()
    return Listings(lambda trigger_id: repair_triggers(engine, storage, [trigger_id], settings, stopping=stopping))


@functools.cache
def _storage() -> Storage:
    """One per process."""
    return Storage.from_settings(get_settings())


def repair_triggers(
    engine: Engine, storage: Storage, ids: list[uuid.UUID], settings: Settings, *, stopping: threading.Event = stopping
) -> None:
    """Claim, list, queue what was missed; a trigger that cannot be listed is tried again in a minute."""
    with engine.begin() as connection:
        leases = claim_repairs(connection, ids)
    for lease in leases:
        try:
            with kept(partial(_keep, engine, lease), every_s=LEASE_S / _BEATS) as lost:
                _repair(engine, storage, lease, settings, go_on=partial(_go_on, lost, stopping))
        except _LeaseLost:
            log.info("repair of trigger %s was given up: it is in other hands, or removed", lease.trigger_id)
        except _Stopping:
            _put_off(engine, lease, again_s=0)
        except _AWAY as error:
            log.warning("repair of trigger %s is put off: %s", lease.trigger_id, _reason(error))
            _put_off(engine, lease, again_s=_AGAIN_S)


def _go_on(lost: threading.Event, stopping: threading.Event) -> None:
    if lost.is_set():
        raise _LeaseLost
    if stopping.is_set():
        raise _Stopping


def _reason(error: Exception) -> str:
    return type(error.orig).__name__ if isinstance(error, DBAPIError) else str(error)


def _put_off(engine: Engine, lease: RepairLease, *, again_s: float) -> None:
    try:
        with engine.begin() as connection:
            release_repair(connection, lease, is_done=False, again_s=again_s)
    except (DBAPIError, PoolTimeout) as error:
        log.warning("trigger %s is due when its lease ends: %s", lease.trigger_id, _reason(error))


def _repair(
    engine: Engine, storage: Storage, lease: RepairLease, settings: Settings, *, go_on: Callable[[], None]
) -> None:
    """`go_on` raises where it must not."""
    with engine.connect() as connection:
        trigger = read_trigger(connection, lease.trigger_id)
        if trigger is None:
            raise _LeaseLost
        owner = owner_of(connection, trigger.account_id, bucket=settings.s3_bucket)
    reception, total = Reception(engine, storage, owner, settings.allowed_hosts), Accepted()
    missed = _uploads(storage, trigger, go_on)
    while group := list(islice(missed, GROUP)):
        total += take(reception, trigger, group)
    pass_point("before_repair_end", settings.failpoint)
    with engine.begin() as connection:
        release_repair(connection, lease, is_done=True)
    if total.accepted:
        log.info("repair of trigger %s found %d uploads that no event told of", trigger.name, total.accepted)


def _uploads(storage: Storage, trigger: TriggerRow, go_on: Callable[[], None]) -> Iterator[UploadEvent]:
    for info in storage.list(trigger.bucket, trigger.prefix):
        go_on()
        if _counts(trigger, info):
            yield as_event(info)


def _counts(trigger: TriggerRow, info: ObjectInfo) -> bool:
    is_there = info.size > 0 and is_recent(trigger, info.last_modified)
    return is_there and is_wanted(trigger, info.bucket, info.key)


def as_event(info: ObjectInfo) -> UploadEvent:
    """As if it had been told; the newest version, where there are several."""
    return UploadEvent(
        info.bucket, info.key, info.etag.strip('"').lower() or None, None, None, info.size, info.last_modified
    )


def _keep(engine: Engine, lease: RepairLease) -> bool:
    with engine.begin() as connection:
        return keep_repair(connection, lease)
