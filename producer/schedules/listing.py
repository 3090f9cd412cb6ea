"""A schedule's source, listed: what is new or changed since the last time is queued, a group at a time.

The group's transaction remembers its pictures, queues their jobs and checks that the run is still in hand: so a worker
that dies in the middle has queued what is remembered, and the next one goes on with the rest.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice

from sqlalchemy import Connection, Engine, text

from clients.failpoints import pass_point
from clients.image_inspector import ImageInspector
from clients.phota_requests import InvalidRequest
from clients.storage import Storage, StorageError
from models import Priority
from models.claims import LEASE_S
from models.inserts import BatchRef, get_batch
from models.run_leases import ClaimedRun, note_progress, rejoin_batch, set_batch
from models.seen import Sighting, mark_new, seen_of
from models.windows import parsed, zone_of
from producer.batches import BatchLimits, open_batch
from producer.ownership import Owner, QueueFull
from producer.recipes import Recipe, object_job
from producer.runs.upload import Refused, Uploader
from producer.sources.photos import Photo, Picture, StoredObject, find_pictures, objects_below
from producer.sources.selection import Selection
from producer.submission import BatchClosed
from producer.uploads.bursts import Arrival, Refusal, insert_arrivals
from settings import get_settings

log = logging.getLogger(__name__)

_LOOK = 1_000  # pictures compared at once with what was seen
_OBJECTS = 500  # jobs of one transaction,
_PHOTOS = 32  # and where each is uploaded first
_AT_ONCE = 8  # uploads, or looks at objects
_UNREADABLE = "unreadable"  # a file that may be readable the next night: not remembered


class LeaseLost(Exception):  # noqa: N818
    """Another worker has the run, or it is over."""


@dataclass(frozen=True, slots=True)
class Found:
    """A picture that is new. `is_changed`: an earlier version of it was seen."""

    picture: Picture
    sighting: Sighting
    is_changed: bool


class Listing:
    """One look at the source. `seen`: pictures met so far, new or not. `go_on` raises where it must not."""

    def __init__(
        self, engine: Engine, storage: Storage, run: ClaimedRun, owner: Owner, *, go_on: Callable[[], None]
    ) -> None:
        self.seen = 0
        self._engine = engine
        self._storage = storage
        self._run = run
        self._owner = owner
        self._go_on = go_on
        self._recipe = Recipe.from_json(run.recipe, output=run.output)
        self._batch: BatchRef | None = None

    def go(self, *, allowed_hosts: Sequence[str] = ()) -> None:
        """To the end of the source. Raise NoSuchSource, OSError, StorageError, QueueFull, BatchClosed, LeaseLost."""
        self._begin()
        selection = Selection(self._run.recipe["include"], self._run.recipe["exclude"])
        source, is_remote = self._run.source, self._run.source.startswith("s3://")
        if is_remote:
            pictures, size = objects_below(source, selection=selection, storage=self._storage), _OBJECTS
        else:
            pictures, size = find_pictures([source], selection=selection), _PHOTOS
        unseen = self._unseen(pictures)
        with self._referred(allowed_hosts) if is_remote else self._uploaded() as make:
            while group := list(islice(unseen, size)):
                self._go_on()
                self._queue(make(group))

    def _begin(self) -> None:
        """Once a run: what was carried over takes more jobs, and may spend another night's budget."""
        run = self._run
        with self._transaction(found=0) as connection:
            if run.batch_id is None or (not run.is_begun and not rejoin_batch(connection, run, run.batch_id)):
                return
            self._batch = get_batch(connection, run.batch_id)
        if self._batch is not None and not self._batch.is_open:
            raise BatchClosed("it was cancelled while its run was under way")

    def _unseen(self, pictures: Iterator[Picture]) -> Iterator[Found]:
        while group := list(islice(pictures, _LOOK)):
            self._go_on()
            met = [(picture, sighting) for picture in group if (sighting := _sighting(picture)) is not None]
            self.seen += len(met)
            tags: dict[str, set[str]] = {}
            with self._engine.connect() as connection:
                for known in seen_of(connection, self._run.schedule_id, [sighting.key for _, sighting in met]):
                    tags.setdefault(known.key, set()).add(known.tag)
            for picture, sighting in met:
                if sighting.tag not in tags.get(sighting.key, ()):
                    yield Found(picture, sighting, is_changed=sighting.key in tags)

    @contextmanager
    def _referred(self, allowed_hosts: Sequence[str]) -> Iterator[Callable[[Sequence[Found]], list[Arrival]]]:
        """Objects stay where they are; each is looked at, for a listing does not tell what is photabatch's own."""
        refer = partial(self._refer_to, allowed_hosts=allowed_hosts)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="look") as pool:
            yield lambda group: [arrival for arrival in pool.map(refer, group) if arrival is not None]

    def _refer_to(self, found: Found, *, allowed_hosts: Sequence[str]) -> Arrival | None:
        """None for what is gone by now. Raise StorageUnavailable."""
        picture = found.picture
        assert isinstance(picture, StoredObject), "what a part of a bucket holds"  # noqa: S101
        is_ours = self._is_ours(picture)
        if is_ours is None:
            return None
        if is_ours:
            return Arrival(found.sighting, None)
        try:
            job = object_job(
                self._recipe,
                picture.uri,
                etag=picture.etag,
                size=picture.bytes,
                custom_id=picture.custom_id,
                owner=self._owner,
                allowed_hosts=allowed_hosts,
            )
        except InvalidRequest as error:
            refusal = Refusal(picture.custom_id, error.problems[0], {"path": str(picture.uri)})
            return Arrival(found.sighting, refusal, picture.etag, found.is_changed)
        return Arrival(found.sighting, job, picture.etag, found.is_changed)

    def _is_ours(self, picture: StoredObject) -> bool | None:
        """None if it is gone. What may be listed and not read is queued: its job says so."""
        try:
            info = self._storage.head(picture.uri.bucket, picture.uri.key)
        except StorageError as error:
            if error.is_retryable:
                raise
            return False
        return None if info is None else info.is_ours

    @contextmanager
    def _uploaded(self) -> Iterator[Callable[[Sequence[Found]], list[Arrival]]]:
        """Files are looked at and uploaded, upright."""
        inspector = ImageInspector(workers=2)
        uploader = Uploader(self._storage, bucket=self._owner.bucket, inspector=inspector)
        try:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload") as pool:
                yield lambda group: list(pool.map(lambda found: self._upload(uploader, found), group))
        finally:
            inspector.close()

    def _upload(self, uploader: Uploader, found: Found) -> Arrival:
        digits = hashlib.sha256(found.sighting.tag.encode()).hexdigest()
        made = uploader.upload(found.picture, self._recipe)
        if isinstance(made, Refused):
            refusal = Refusal(found.picture.custom_id, made.problem, {"path": found.sighting.key})
            return Arrival(found.sighting, refusal, digits, found.is_changed)
        return Arrival(found.sighting, made, digits, found.is_changed)

    def _queue(self, arrivals: Sequence[Arrival]) -> None:
        """As many as the account may have waiting: what is more than that waits for the next try."""
        try:
            self._queue_group(arrivals)
        except QueueFull:
            if len(arrivals) < 2:
                raise
            self._queue(arrivals[: len(arrivals) // 2])
            self._queue(arrivals[len(arrivals) // 2 :])

    def _queue_group(self, arrivals: Sequence[Arrival]) -> None:
        lasting = [each.sighting for each in arrivals if not _may_pass(each)]
        made = [each for each in arrivals if each.made is not None]
        if len(made) < len(arrivals):
            log.info("schedule %s: %d results of photabatch passed over", self._run.name, len(arrivals) - len(made))
        batch = self._batch
        with self._transaction(found=len(made)) as connection:
            mark_new(connection, self._run.schedule_id, lasting)  # all are: who holds the run is the only one
            pass_point("in_mark", get_settings().failpoint)
            if made:
                batch = batch or self._open(connection)
                insert_arrivals(connection, batch, made, self._recipe, self._owner)
        self._batch = batch
        pass_point("after_listed_group", get_settings().failpoint)

    def _open(self, connection: Connection) -> BatchRef:
        run = self._run
        window = None if run.admission_window is None else parsed(run.admission_window)
        batch = open_batch(
            connection,
            f"{run.name}-{run.tick.astimezone(zone_of(run.time_zone)):%Y-%m-%d}",
            account_id=run.account_id,
            priority=Priority(run.priority),
            limits=BatchLimits(budget_usd=run.budget_usd, window=window, max_failure_rate=run.max_failure_rate),
            webhook_url=run.webhook_url,
            schedule_id=run.schedule_id,
        )
        set_batch(connection, run, batch.id)
        return batch

    @contextmanager
    def _transaction(self, *, found: int) -> Iterator[Connection]:
        """One that only who holds the run can commit. It ends by itself if this process freezes in the middle."""
        with self._engine.begin() as connection:
            connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{LEASE_S:g}s'"))
            if not note_progress(connection, self._run, seen=self.seen, found=found):
                raise LeaseLost
            yield connection


def _may_pass(arrival: Arrival) -> bool:
    return isinstance(arrival.made, Refusal) and arrival.made.problem.code == _UNREADABLE


def _sighting(picture: Picture) -> Sighting | None:
    """An object is known by its ETag, a file by its size and time of change; None if it is gone by now."""
    if isinstance(picture, StoredObject):
        return Sighting(str(picture.uri), picture.etag)
    assert isinstance(picture, Photo), "a source is a folder or a part of a bucket"  # noqa: S101
    try:
        stat = picture.path.stat()
    except OSError:
        return None
    name = str(picture.path).encode(errors="backslashreplace").decode()  # old disks have names that are not UTF-8
    return Sighting(name, f"{stat.st_size}-{stat.st_mtime_ns}")
