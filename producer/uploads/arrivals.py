"""Uploads that were told of, or found by a listing, become jobs of the triggers that want them: each once.

The order makes it so: what is seen already is dropped; the others are looked at; then one transaction remembers them
and queues their jobs; and only what is committed is acknowledged to whoever told of it.
"""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine

from clients.failpoints import pass_point
from clients.phota_requests import InvalidRequest
from clients.s3_objects import ObjectInfo
from clients.s3_uri import S3Uri
from clients.storage import Storage, StorageError
from models.bursts import lock_source
from models.engine import wait_at_most
from models.seen import Sighting, seen_of
from models.triggers import TriggerRow, read_trigger, triggers_on
from producer.jobs import CheckedJob
from producer.ownership import Owner, QueueFull
from producer.recipes import object_job
from producer.uploads.bursts import Arrival, Refusal, queue_arrivals
from producer.uploads.s3_events import UploadEvent, is_later
from producer.uploads.trigger_rules import is_recent, is_wanted, name_of, source_of
from settings import get_settings

log = logging.getLogger(__name__)

GROUP = 500  # objects of one transaction
_AT_ONCE = 8  # objects that are looked at
_PATIENCE_S = 10  # for others that queue for the same trigger


@dataclass(frozen=True, slots=True)
class Accepted:
    """`accepted`: jobs queued, one a trigger that wants the upload. `known`: had one before. `ignored`: no trigger
    wants it, it is gone, overtaken by a later one, too old, empty, or photabatch put it there itself."""

    accepted: int = 0
    known: int = 0
    ignored: int = 0

    def __add__(self, other: "Accepted") -> "Accepted":
        return Accepted(self.accepted + other.accepted, self.known + other.known, self.ignored + other.ignored)


@dataclass(frozen=True, slots=True)
class Reception:
    """Whose uploads are taken, and what that needs. `allowed_hosts`: private ones that parameters may name."""

    engine: Engine
    storage: Storage
    owner: Owner
    allowed_hosts: Sequence[str] = ()


def accept(
    engine: Engine, storage: Storage, events: Sequence[UploadEvent], owner: Owner, *, allowed_hosts: Sequence[str] = ()
) -> Accepted:
    """Queue what the account's triggers want of these uploads; when it returns, that is committed.

    Raise StorageUnavailable, QueueFull, or an error of the database: then the same events have to be told again, and
    those that went in are known by then.
    """
    reception = Reception(engine, storage, owner, allowed_hosts)
    with engine.connect() as connection:
        triggers = triggers_on(connection, owner.account.id, sorted({event.bucket for event in events}))
    total = Accepted(ignored=sum(not any(_wants(trigger, event) for trigger in triggers) for event in events))
    for trigger in triggers:
        total += take(reception, trigger, [event for event in events if _wants(trigger, event)])
    return total


def take(reception: Reception, trigger: TriggerRow, events: Sequence[UploadEvent]) -> Accepted:
    """What one trigger makes of uploads that it wants, a group after the other. Raise as `accept` does."""
    total = Accepted()
    for start in range(0, len(events), GROUP):
        total += _take_group(reception, trigger, events[start : start + GROUP])
    return total


def _wants(trigger: TriggerRow, event: UploadEvent) -> bool:
    return is_wanted(trigger, event.bucket, event.key)


def _take_group(reception: Reception, trigger: TriggerRow, events: Sequence[UploadEvent]) -> Accepted:
    with reception.engine.connect() as connection:
        seen = _Seen(seen_of(connection, trigger.id, sorted({event.key for event in events})))
    known = sum(seen.has(event) for event in events)
    fresh = [event for event in events if not seen.has(event) and not seen.has_overtaken(event)]
    found = [
        (event, info)
        for event, info in zip(fresh, _look_at(reception.storage, fresh), strict=True)
        if info is not None and info.size and is_recent(trigger, info.last_modified)
    ]
    arrivals = [_arrival(reception, trigger, event, info, seen) for event, info in found]
    new = _queue(reception, trigger, arrivals) if arrivals else None
    jobs = sum(each.made is not None for each in new or ())
    known += 0 if new is None else len(arrivals) - len(new)
    return Accepted(jobs, known, len(events) - jobs - known)


class _Seen:
    """What the trigger has seen under the keys of some events."""

    def __init__(self, sightings: Iterable[Sighting]) -> None:
        self._tags: dict[str, set[str]] = {}
        self._sequencers: dict[str, list[str]] = {}
        for each in sightings:
            self.add(each)

    def add(self, sighting: Sighting) -> None:
        self._tags.setdefault(sighting.key, set()).add(sighting.tag)
        if sighting.sequencer:
            self._sequencers.setdefault(sighting.key, []).append(sighting.sequencer)

    def knows(self, key: str) -> bool:
        return key in self._tags

    def has(self, event: UploadEvent) -> bool:
        return event.etag is not None and event.etag in self._tags.get(event.key, ())

    def has_overtaken(self, event: UploadEvent) -> bool:
        """Whether a later event of the key was seen: what this one tells of is not there any more. A version is."""
        if event.sequencer is None or event.version_id is not None:
            return False
        return any(is_later(other, event.sequencer) for other in self._sequencers.get(event.key, ()))


def _look_at(storage: Storage, events: Sequence[UploadEvent]) -> list[ObjectInfo | None]:
    """What is there of each; None where nothing is, or what cannot be read. Raise StorageUnavailable."""
    if len(events) < 2:
        return [_look(storage, event) for event in events]
    with ThreadPoolExecutor(min(_AT_ONCE, len(events)), thread_name_prefix="look") as pool:
        return list(pool.map(partial(_look, storage), events))


def _look(storage: Storage, event: UploadEvent) -> ObjectInfo | None:
    """One that may not be read is passed over: it must not hold up the others, and the listings come back to it."""
    try:
        return storage.head(event.bucket, event.key, version_id=event.version_id)
    except StorageError as error:
        if error.is_retryable:
            raise
        log.warning("upload passed over, it cannot be read: %s", error)
        return None


def _arrival(reception: Reception, trigger: TriggerRow, event: UploadEvent, info: ObjectInfo, seen: "_Seen") -> Arrival:
    """Known by what is there now, not by what the event said: that may have been overwritten since."""
    etag = info.etag.strip('"').lower()
    sighting = Sighting(event.key, etag, event.sequencer)
    made = None if info.is_ours else _made(reception, trigger, info, etag)
    is_changed = source_of(trigger).recipe.mixes_batches and seen.knows(event.key)
    seen.add(sighting)
    return Arrival(sighting, made, digits=etag, is_changed=is_changed)


def _made(reception: Reception, trigger: TriggerRow, info: ObjectInfo, etag: str) -> CheckedJob | Refusal:
    """A job of exactly these bytes, where the bucket keeps versions."""
    uri, name = S3Uri(info.bucket, info.key), name_of(trigger, info.key)
    told = {"trigger": trigger.name} | ({"version_id": info.version_id} if info.version_id else {})
    try:
        return object_job(
            source_of(trigger).recipe,
            uri,
            etag=etag,
            size=info.size,
            custom_id=name,
            owner=reception.owner,
            allowed_hosts=reception.allowed_hosts,
            source=told,
        )
    except InvalidRequest as error:
        log.warning("upload %s of trigger %s is rejected: %s", uri, trigger.name, error)
        return Refusal(name, error.problems[0], {"path": str(uri), "etag": etag, **told})


def _queue(reception: Reception, trigger: TriggerRow, arrivals: Sequence[Arrival]) -> list[Arrival] | None:
    """Those that were new; None if the trigger was removed meanwhile.

    Of a group that is more than the account may have waiting, as many as fit are queued before QueueFull is raised:
    who comes again finds them known, and gets further.
    """
    try:
        return _queue_group(reception, trigger, arrivals)
    except QueueFull:
        if len(arrivals) < 2:
            raise
    half = len(arrivals) // 2
    halves = [_queue(reception, trigger, each) for each in (arrivals[:half], arrivals[half:])]
    return None if None in halves else [each for group in halves for each in group or ()]


def _queue_group(reception: Reception, trigger: TriggerRow, arrivals: Sequence[Arrival]) -> list[Arrival] | None:
    with reception.engine.begin() as connection:
        wait_at_most(connection, _PATIENCE_S)
        lock_source(connection, trigger.id)
        now = read_trigger(connection, trigger.id)
        new = queue_arrivals(connection, source_of(now), arrivals, reception.owner) if now else None
    pass_point("after_arrivals", get_settings().failpoint)
    return new
