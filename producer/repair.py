"""Celery task `trigger.repair`: a listing finds the uploads that no event told of."""

import functools
import logging
import threading
import uuid
from functools import partial
from itertools import islice

from celery import shared_task
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from clients.s3_objects import ObjectInfo
from clients.storage import Storage, StorageError
from models.triggers import LEASE_S, RepairLease, TriggerRow, claim_repairs, keep_repair, read_trigger, release_repair
from producer.arrivals import GROUP, Accepted, Reception, take
from producer.database import default_engine
from producer.heartbeat import kept
from producer.ownership import QueueFull, owner_of
from producer.trigger_rules import is_recent, is_wanted
from producer.upload_event import UploadEvent
from settings import Settings, get_settings

log = logging.getLogger(__name__)

_BEATS = 4  # in a lease: three may be lost
_AGAIN_S = 60.0  # after a listing that did not come to its end


class _LeaseLost(Exception):  # noqa: N818
    """Somebody else has the trigger by now, or it was removed."""


@shared_task(name="trigger.repair")
def repair(ids: list[str]) -> None:
    """A doorway: those of the triggers that wait for it are listed, one after the other."""
    repair_triggers(default_engine(), _storage(), [uuid.UUID(each) for each in ids], get_settings())


@functools.cache
def _storage() -> Storage:
    """One per process."""
    return Storage.from_settings(get_settings())


def repair_triggers(engine: Engine, storage: Storage, ids: list[uuid.UUID], settings: Settings) -> None:
    """Claim, list, queue what was missed; a trigger that cannot be listed is tried again in a minute."""
    with engine.begin() as connection:
        leases = claim_repairs(connection, ids)
    for lease in leases:
        try:
            with kept(partial(_keep, engine, lease), every_s=LEASE_S / _BEATS) as lost:
                _repair(engine, storage, lease, settings, lost)
        except _LeaseLost:
            log.info("repair of trigger %s was given up: it is in other hands, or removed", lease.trigger_id)
        except (StorageError, DBAPIError, QueueFull) as error:
            log.warning("repair of trigger %s is put off: %s", lease.trigger_id, _reason(error))
            _put_off(engine, lease)


def _reason(error: Exception) -> str:
    return type(error.orig).__name__ if isinstance(error, DBAPIError) else str(error)


def _put_off(engine: Engine, lease: RepairLease) -> None:
    try:
        with engine.begin() as connection:
            release_repair(connection, lease, is_done=False, again_s=_AGAIN_S)
    except DBAPIError as error:
        log.warning("trigger %s is due when its lease ends: %s", lease.trigger_id, _reason(error))


def _repair(engine: Engine, storage: Storage, lease: RepairLease, settings: Settings, lost: threading.Event) -> None:
    with engine.connect() as connection:
        trigger = read_trigger(connection, lease.trigger_id)
        if trigger is None:
            raise _LeaseLost
        owner = owner_of(connection, trigger.account_id, bucket=settings.s3_bucket)
    reception, total = Reception(engine, storage, owner, settings.allowed_hosts), Accepted()
    missed = (as_event(info) for info in storage.list(trigger.bucket, trigger.prefix) if _counts(trigger, info))
    while group := list(islice(missed, GROUP)):
        if lost.is_set():
            raise _LeaseLost
        total += take(reception, trigger, group)
    with engine.begin() as connection:
        release_repair(connection, lease, is_done=True)
    if total.accepted:
        log.info("repair of trigger %s found %d uploads that no event told of", trigger.name, total.accepted)


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
