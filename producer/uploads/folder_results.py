"""What became of the photos of a watched folder: told, and fetched, job by job as they are done."""

import logging
import uuid
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine

from clients.failpoints import pass_point
from clients.storage import Storage
from models.bursts import BurstState, bursts_left
from models.results import JobResult, finished_page
from models.seen import Sighting, mark_new
from producer.ownership import Owner
from producer.results.downloads import OutputsLost, download_jobs
from producer.results.pages import paged
from producer.uploads.bursts import Source
from settings import get_settings

log = logging.getLogger(__name__)

Tell = Callable[[str], None]


class FolderResults:
    """`folder`: where results go; None: they stay in the bucket. `tell`: takes a line for people about each job."""

    def __init__(
        self, source: Source, *, engine: Engine, storage: Storage, owner: Owner, folder: Path | None, tell: Tell
    ) -> None:
        self._source = source
        self._engine = engine
        self._storage = storage
        self._owner = owner
        self._folder = folder
        self._tell = tell
        # what was fetched stays so over a restart; into another folder everything is fetched anew
        self._id = uuid.uuid5(source.id, "told" if folder is None else folder.resolve().as_uri())
        self._done: dict[uuid.UUID, set[uuid.UUID]] = {}

    def look(self) -> int:
        """Fetch and tell what was finished since the last look; how many jobs. Safe to repeat after any error.

        Raise StorageError, OSError, or an error of the database.
        """
        with self._engine.connect() as connection:
            account_id = self._owner.account.id
            bursts = bursts_left(connection, account_id, self._source.name, self._source.id, done=self._id)
        return sum(self._look_at(burst) for burst in bursts)

    def _look_at(self, burst: BurstState) -> int:
        done = self._done.setdefault(burst.batch_id, set())
        count = 0
        for job in paged(self._engine, finished_page, burst.batch_id):
            if job.id not in done:
                self._fetch(job, burst)
                done.add(job.id)
                count += 1
        if burst.is_finished:
            pass_point("after_fetch", get_settings().failpoint)
            with self._engine.begin() as connection:
                mark_new(connection, self._id, [Sighting(str(burst.batch_id), "done")])
            del self._done[burst.batch_id]
        return count

    def _fetch(self, job: JobResult, burst: BurstState) -> None:
        if not job.state.is_good:
            self._tell(f"{job.custom_id}: {job.state}, {job.error_message or job.error_code or 'no reason is known'}")
            return
        if self._folder is None:
            self._tell(f"{job.custom_id}: done, in the bucket; photabatch results {burst.slug}")
            return
        try:
            files = list(download_jobs(self._storage, [job], self._folder))
        except OutputsLost as error:
            self._tell(f"{job.custom_id}: {error}")
        else:
            self._tell(f"{job.custom_id}: done, {', '.join(str(file) for file in files)}")
