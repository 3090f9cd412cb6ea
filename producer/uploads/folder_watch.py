"""A folder of this machine, watched: photos that come to rest in it are uploaded and queued, each once."""

import hashlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import Engine

from clients.failpoints import pass_point
from models.bursts import lock_source
from models.seen import Sighting, seen_of
from producer.jobs import CheckedJob
from producer.ownership import Owner
from producer.runs.upload import Refused, Uploader
from producer.sources.pictures import Photo, fitting_id
from producer.uploads.bursts import Arrival, Refusal, Source, queue_arrivals
from producer.uploads.resting_files import RestingFiles, tag_of, tags_below
from settings import get_settings

_GROUP = 32  # photos of one transaction
_LOOKED_UP = 1_000  # names in one statement
_AT_ONCE = 8  # uploads

Tell = Callable[[str], None]


def folder_id(root: Path, name: str | None = None) -> uuid.UUID:
    """Of a folder as a source; with `name`, of one of several that watch it."""
    place = root.resolve().as_uri()
    return uuid.uuid5(uuid.NAMESPACE_URL, place if name is None else f"{place}#{name}")


class FolderWatch:
    """`leave_out`: a folder that is passed over. `tell`: takes a line for people about each photo."""

    def __init__(
        self,
        root: Path,
        source: Source,
        *,
        engine: Engine,
        uploader: Uploader,
        owner: Owner,
        settle_s: float,
        tell: Tell,
        leave_out: Path | None = None,
    ) -> None:
        self._root = root.resolve()
        self._source = source
        self._engine = engine
        self._uploader = uploader
        self._owner = owner
        self._tell = tell
        self._leave_out = leave_out
        self._files = RestingFiles(settle_s=settle_s)
        self._changed: set[str] = set()  # that were queued before with other bytes

    def look(self, now: float) -> int:
        """Look once, and queue what has come to rest; how many were new. Safe to repeat after any error.

        `now`: seconds of a clock that only goes forward. Raise OSError for a folder that cannot be read, StorageError,
        QueueFull, or an error of the database.
        """
        rested = self._files.note(dict(tags_below(self._root, leave_out=self._leave_out)), now)
        fresh = [path for start in range(0, len(rested), _LOOKED_UP) for path in self._new(rested[start:][:_LOOKED_UP])]
        groups = (fresh[start : start + _GROUP] for start in range(0, len(fresh), _GROUP))
        return sum(self._take(group, now) for group in groups)

    def _new(self, paths: Sequence[str]) -> Iterator[str]:
        """Those that were not queued by an earlier watch."""
        with self._engine.connect() as connection:
            seen = seen_of(connection, self._source.id, [fitting_id(path) for path in paths])
        known, names = {(each.key, each.tag) for each in seen}, {each.key for each in seen}
        for path in paths:
            if (fitting_id(path), self._files.tag(path)) in known:
                self._files.done(path)
                continue
            if fitting_id(path) in names:
                self._changed.add(path)
            yield path

    def _take(self, paths: Sequence[str], now: float) -> int:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload") as pool:
            made = list(pool.map(self._uploaded, paths))
        whole = [
            (path, each)
            for path, each in zip(paths, made, strict=True)
            if tag_of(self._root / path) == self._files.tag(path)  # else it was written to meanwhile
            and (isinstance(each, CheckedJob) or self._files.is_given_up(path, now))
        ]
        if not whole:
            return 0
        with self._engine.begin() as connection:
            lock_source(connection, self._source.id)
            arrivals = [self._arrival(path, each) for path, each in whole]
            queued = queue_arrivals(connection, self._source, arrivals, self._owner)
        pass_point("after_arrivals", get_settings().failpoint)
        for path, each in whole:
            self._files.done(path)
            self._changed.discard(path)
            self._tell(f"{fitting_id(path)}: {_told(each)}")
        return len(queued)

    def _uploaded(self, path: str) -> CheckedJob | Refused:
        return self._uploader.upload(Photo(self._root / path, fitting_id(path)), self._source.recipe)

    def _arrival(self, path: str, made: CheckedJob | Refused) -> Arrival:
        name, tag = fitting_id(path), self._files.tag(path)
        digits = hashlib.sha256(tag.encode()).hexdigest()
        is_changed = self._source.recipe.mixes_batches and path in self._changed
        if isinstance(made, CheckedJob):
            return Arrival(Sighting(name, tag), made, digits, is_changed)
        place = str(self._root / path).encode(errors="replace").decode()
        return Arrival(Sighting(name, tag), Refusal(name, made.problem, {"path": place}), digits, is_changed)


def _told(made: CheckedJob | Refused) -> str:
    return "queued" if isinstance(made, CheckedJob) else f"rejected, {made.problem.message}"
