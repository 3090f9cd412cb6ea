"""What the oracle asks of events: each is in the outbox, and what that calls delivered was taken, and in order."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from chaos.receiver import Listener, Told
from models import DEFAULT_ACCOUNT
from models.states import FINAL_STATES, BatchStatus, JobState

Row = Mapping[Any, Any]
Event = tuple[str, Any, str]
"""Where it is told, of which job or batch, and its type."""
Finding = tuple[str, str]
"""A kind of violation, as `chaos.oracle.Verdict` names them, and what it is."""

_BEGINNING = "batch.started"
_QUIET = JobState.SKIPPED  # no event tells of it
_UNTOLD = (BatchStatus.OPEN, BatchStatus.RUNNING, BatchStatus.CANCELLING)  # nor of these


def judge_events(
    jobs: Sequence[Row],
    batches: Sequence[Row],
    moves: Sequence[Row],
    deliveries: Sequence[Row],
    told: Mapping[tuple[str, str], Told],
    *,
    listeners: Sequence[Listener],
) -> Iterator[Finding]:
    """`moves`: what batches were called, each time it changed. `told`: by path and webhook-id, what was taken."""
    paths = {batch["id"]: _paths(batch, listeners) for batch in batches}
    yield from _missing(Counter(_job_events(jobs, batches, paths)), _made(deliveries, "job_id"))
    yield from _missing(Counter(_batch_events(batches, moves, paths)), _made(deliveries, "batch_id"))
    yield from _untaken(deliveries, told)
    yield from _told_otherwise(jobs, told)
    yield from _strange(jobs, batches, deliveries, told)
    yield from _early(deliveries, told)


def _missing(owed: Counter[Event], made: Counter[Event]) -> Iterator[Finding]:
    """Each as often as it happened, for each address that is to be told."""
    for event, count in owed.items():
        if made[event] != count:
            path, subject, what = event
            yield "undelivered", f"{what} of {subject} is in the outbox {made[event]} times for {path}, not {count}"


def _made(deliveries: Sequence[Row], subject: str) -> Counter[Event]:
    return Counter((_path(row["url"]), row[subject], row["type"]) for row in deliveries if row[subject])


def _job_events(jobs: Sequence[Row], batches: Sequence[Row], paths: Mapping[Any, Sequence[str]]) -> Iterator[Event]:
    own = {batch["id"]: frozenset(batch["webhook_events"]) for batch in batches}
    own_path = {batch["id"]: _path(batch["webhook_url"] or "") for batch in batches}
    for job in jobs:
        event = f"job.{job['state']}"
        if job["state"] in FINAL_STATES and job["state"] != _QUIET:
            for path in paths[job["batch_id"]]:
                if path != own_path[job["batch_id"]] or event in own[job["batch_id"]]:
                    yield path, job["id"], event


def _batch_events(batches: Sequence[Row], moves: Sequence[Row], paths: Mapping[Any, Sequence[str]]) -> Iterator[Event]:
    """A batch of which no job was ever called ends without a beginning; one that is retried ends again."""
    happened = [(batch["id"], _BEGINNING) for batch in batches if batch["is_started"]]
    happened += [(move["batch_id"], f"batch.{move['status']}") for move in moves if move["status"] not in _UNTOLD]
    for batch_id, event in happened:
        yield from ((path, batch_id, event) for path in paths[batch_id])


def _paths(batch: Row, listeners: Sequence[Listener]) -> list[str]:
    """Who is told of it: the account's own, and the address that it names itself."""
    paths = [each.path for each in listeners if each.since_s <= batch["created_s"] <= each.until_s]
    if batch["account_id"] != DEFAULT_ACCOUNT:
        paths = []
    return [*paths, _path(batch["webhook_url"])] if batch["webhook_url"] else paths


def _path(url: str) -> str:
    return urlsplit(url).path


def _key(row: Row) -> tuple[str, str]:
    """Of a delivery: where it is told, and under which webhook-id."""
    return _path(row["url"]), f"msg_{(row['digest_id'] or row['id']).hex}"


def _untaken(deliveries: Sequence[Row], told: Mapping[tuple[str, str], Told]) -> Iterator[Finding]:
    """What is not delivered, or is by the outbox alone."""
    members = {key: {job for job, _ in event.jobs} for key, event in told.items()}
    for row in deliveries:
        if row["state"] != "delivered":
            yield "undelivered", f"{row['type']} {row['id']} is {row['state']}"
            continue
        key = _key(row)
        event = told.get(key)
        is_it = event is not None and (
            str(row["job_id"]) in members[key]
            if row["job_id"]
            else (event.type, event.batch) == (row["type"], str(row["batch_id"]))
        )
        if not is_it:
            yield "undelivered", f"{row['type']} {row['id']} was never taken"


def _told_otherwise(jobs: Sequence[Row], told: Mapping[tuple[str, str], Told]) -> Iterator[Finding]:
    """What was told of a job is what its row says."""
    state_of = {str(job["id"]): job["state"] for job in jobs}
    for event in told.values():
        for job, state in event.jobs:
            if state_of.get(job, state) != state:
                yield "two_finals", f"{job} was told as {state}"


def _strange(
    jobs: Sequence[Row], batches: Sequence[Row], deliveries: Sequence[Row], told: Mapping[tuple[str, str], Told]
) -> Iterator[Finding]:
    """What was told of these under an id of no event: a receiver would take it for another."""
    ours = {str(each["id"]) for each in [*jobs, *batches]}
    keys = {_key(row) for row in deliveries}
    for key, event in told.items():
        if key not in keys and (event.batch in ours or any(job in ours for job, _ in event.jobs)):
            yield "out_of_order", f"{event.type} was told at {key[0]} as {key[1]}, which no event is"


def _early(deliveries: Sequence[Row], told: Mapping[tuple[str, str], Told]) -> Iterator[Finding]:
    """At each address the events of a batch are first taken in the order in which they happened."""
    latest: dict[tuple[str, Any], int] = {}
    for row in sorted((row for row in deliveries if not row["job_id"]), key=lambda row: row["seq"]):
        event = told.get(_key(row))
        if event is not None:
            before = latest.get((_path(row["url"]), row["batch_id"]), 0)
            if event.order < before:
                yield "out_of_order", f"{row['type']} of batch {row['batch_id']} was told after what came later"
            latest[_path(row["url"]), row["batch_id"]] = max(before, event.order)
