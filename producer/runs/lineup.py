"""The pictures of a run, looked at and judged before anything is spent; on disk until they are queued."""

import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

from sqlalchemy import Engine

from clients.image_survey import START_BYTES, Surveyed, Surveyor
from clients.phota_requests import Params, Problem, with_images
from clients.s3_uri import S3Uri
from clients.storage import ObjectMissing, Storage
from models import DEFAULT_ACCOUNT
from models.contents import done_keys, known_in_batch
from models.inserts import BatchRef
from producer.content import content_key, identity_of_bytes, identity_of_object
from producer.recipes import Recipe
from producer.runs.preflight import Candidate, Kind, Preflight, Verdict
from producer.sources.photos import Address, Photo, Picture, StoredObject

_GROUP = 512  # pictures that are judged at once
_AT_ONCE = 8  # objects whose beginning is fetched


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture and what became of the look at it; `content`: its content key, None where it was not looked at."""

    picture: Picture
    kind: Kind
    content: str | None
    problem: Problem | None = None


class Lineup:
    """Entries in their order, in a temporary file: a million take no memory. Close it."""

    def __init__(self) -> None:
        self._file = TemporaryFile("w+", prefix="photabatch-", encoding="ascii")  # noqa: SIM115  lives as long as this
        self.entries = 0
        self.to_do = 0
        self.passed_over = 0  # objects that photabatch itself has put there

    def add(self, entry: Entry) -> None:
        problem = entry.problem and (entry.problem.code, entry.problem.message)
        self._file.write(json.dumps([_written(entry.picture), entry.kind, entry.content, problem]) + "\n")
        self.entries += 1
        self.to_do += entry.kind is Kind.READY

    def __iter__(self) -> Iterator[Entry]:
        self._file.flush()
        with open(os.dup(self._file.fileno()), encoding="ascii") as lines:  # noqa: PTH123  a second reader
            lines.seek(0)
            for line in lines:
                yield _entry(json.loads(line))

    def spread(self, count: int) -> Iterator[Entry]:
        """`count` of those that are to be done, evenly spread over the set; all of them if there are fewer."""
        wanted = {number * self.to_do // count for number in range(count)} if count < self.to_do else None
        ready = (entry for entry in self if entry.kind is Kind.READY)
        return (entry for number, entry in enumerate(ready) if wanted is None or number in wanted)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _written(picture: Picture) -> list[Any]:
    if isinstance(picture, Photo):
        return ["photo", os.fspath(picture.path), picture.custom_id]
    if isinstance(picture, StoredObject):
        return ["object", picture.uri.bucket, picture.uri.key, picture.etag, picture.bytes, picture.custom_id]
    return ["address", picture.url]


def _entry(line: list[Any]) -> Entry:
    (sort, *fields), kind, content, problem = line
    picture: Picture
    if sort == "photo":
        picture = Photo(Path(fields[0]), fields[1])
    elif sort == "object":
        picture = StoredObject(S3Uri(fields[0], fields[1]), *fields[2:])
    else:
        picture = Address(fields[0])
    return Entry(picture, Kind(kind), content, problem and Problem("image", *problem))


class Past:
    """What was done before: nothing is known without a database."""

    def __init__(self, engine: Engine | None, *, batch: BatchRef | None = None, is_redo: bool = False) -> None:
        """`batch`: one that goes on; what it has already is not done again. `is_redo`: only that counts."""
        self._engine = engine
        self._batch = batch
        self._is_redo = is_redo
        self._in_batch: set[str] = set()

    def look(self, candidates: Sequence[Candidate]) -> None:
        """At the next group, before its contents are asked for."""
        self._in_batch = set()
        if self._engine is None or self._batch is None:
            return
        with self._engine.connect() as connection:
            known = known_in_batch(connection, self._batch.id, [each.custom_id for each in candidates])
        wanted = {each.custom_id: each.content for each in candidates}
        self._in_batch = {key for custom_id, key in known.items() if key is not None and key == wanted[custom_id]}

    def done(self, contents: Sequence[str]) -> Collection[str]:
        if self._engine is None or self._is_redo:
            return self._in_batch
        with self._engine.connect() as connection:
            return self._in_batch | done_keys(connection, contents)


def line_up(
    pictures: Iterable[Picture],
    *,
    recipe: Recipe,
    example: Params,
    past: Past,
    preflight: Preflight,
    lineup: Lineup | None = None,
    surveyor: Surveyor | None = None,
    storage: Storage | None = None,
) -> Iterator[list[Verdict]]:
    """Look at pictures group by group and judge them; the verdicts of each group.

    `example`: parameters of a job of the recipe, for any picture. Without `surveyor` only names and listings are looked
    at. Raise StorageError, and what `pictures` raises.
    """
    remaining = iter(pictures)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="survey") as threads:
        look = _Look(surveyor, storage, threads)
        while several := list(islice(remaining, _GROUP)):
            looked = [(picture, found) for picture, found in zip(several, look.at(several), strict=True) if found]
            group = [picture for picture, _ in looked]
            candidates = [
                Candidate(picture.custom_id, found, _content(picture, found, recipe, example))
                for picture, found in looked
            ]
            past.look(candidates)
            verdicts = preflight.add(candidates)
            if lineup is not None:
                lineup.passed_over += len(several) - len(group)
                for picture, candidate, verdict in zip(group, candidates, verdicts, strict=True):
                    lineup.add(Entry(picture, verdict.kind, candidate.content, _problem(candidate)))
            yield verdicts


def _problem(candidate: Candidate) -> Problem | None:
    fault = candidate.surveyed.fault
    return fault and Problem("image", fault.code, f"{candidate.custom_id}: {fault.message}")


def _content(picture: Picture, found: Surveyed, recipe: Recipe, example: Params) -> str | None:
    identity = _identity(picture, found)
    if identity is None or found.fault is not None:
        return None
    return content_key(with_images(example, recipe.identities(identity)), account_id=DEFAULT_ACCOUNT)


def _identity(picture: Picture, found: Surveyed) -> str | None:
    if isinstance(picture, StoredObject):
        return identity_of_object(picture.etag, picture.bytes)
    if isinstance(picture, Photo):
        return identity_of_bytes(found.sha256) if found.sha256 else None
    return picture.url


@dataclass(frozen=True, slots=True)
class _Look:
    surveyor: Surveyor | None
    storage: Storage | None
    threads: ThreadPoolExecutor

    def at(self, group: Sequence[Picture]) -> list[Surveyed | None]:
        """Each picture of a group, in order: files by the children, objects by their beginning, addresses not.

        None for an object that is photabatch's own: a result is not worked on again.
        """
        photos = [each.path for each in group if isinstance(each, Photo)]
        files = iter(self.surveyor.survey(photos) if self.surveyor else map(_by_name, photos))
        others = self.threads.map(self._other, [each for each in group if not isinstance(each, Photo)])
        return [next(files) if isinstance(each, Photo) else next(others) for each in group]

    def _other(self, picture: Address | StoredObject) -> Surveyed | None:
        if isinstance(picture, Address):
            return Surveyed(picture.url, 0, None, None)
        if self.surveyor is None or self.storage is None:
            return Surveyed(str(picture.uri), picture.bytes, None, None)
        first = _beginning(self.storage, picture)
        return None if first is None else self.surveyor.survey_bytes(str(picture.uri), first, picture.bytes)


def _beginning(storage: Storage, picture: StoredObject) -> bytes | None:
    """Nothing of an object that is gone by now: it shows as empty, as one without bytes does."""
    if not picture.bytes:
        return b""
    try:
        first, info = storage.get_start(picture.uri.bucket, picture.uri.key, size=START_BYTES)
    except ObjectMissing:
        return b""
    return None if info.is_ours else first


def _by_name(path: Path) -> Surveyed:
    try:
        return Surveyed(os.fspath(path), path.stat().st_size, None, None)
    except OSError:
        return Surveyed(os.fspath(path), 0, None, None)
