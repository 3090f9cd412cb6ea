"""What the oracle asks of events: each is in the outbox, and what that calls delivered was taken, and in order."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from chaos.receiver import Told
from models import DEFAULT_ACCOUNT
from models.states import FINAL_STATES, JobState

Row = Mapping[Any, Any]
Finding = tuple[str, str]
"""A kind of violation, as `chaos.oracle.Verdict` names them, and what it is."""

_ALL = "/all"  # where the default account is told everything
_BEGINNING, _BREAK = "batch.started", "batch.paused"
_QUIET = JobState.SKIPPED  # no event tells of it


def judge_events(
    jobs: Sequence[Row], batches: Sequence[Row], deliveries: Sequence[Row], told: Mapping[tuple[str, str], Told]
) -> Iterator[Finding]:
    """`told`: by path and webhook-id, what the receiver took."""
    yield from _missing(jobs, batches, deliveries)
    yield from _untaken(deliveries, told)
    yield from _told_otherwise(jobs, told)
    yield from _early({str(batch["id"]) for batch in batches}, told)


def _missing(jobs: Sequence[Row], batches: Sequence[Row], deliveries: Sequence[Row]) -> Iterator[Finding]:
    """Each end of a job and of a batch, and each beginning of a batch, for each address that is to be told."""
    there = {(_path(row["url"]), row["job_id"] or row["batch_id"], row["type"]) for row in deliveries}
    listeners = {batch["id"]: _listeners(batch) for batch in batches}
    own = {batch["id"]: frozenset(batch["webhook_events"]) for batch in batches}
    for job in jobs:
        event = f"job.{job['state']}"
        if job["state"] in FINAL_STATES and job["state"] != _QUIET:
            for path in listeners[job["batch_id"]]:
                if (path == _ALL or event in own[job["batch_id"]]) and (path, job["id"], event) not in there:
                    yield "undelivered", f"no {event} of {job['id']} for {path}"
    for batch in batches:
        for event in _due(batch):
            for path in listeners[batch["id"]]:
                if (path, batch["id"], event) not in there:
                    yield "undelivered", f"no {event} of {batch['slug']} for {path}"


def _due(batch: Row) -> list[str]:
    """A batch of which no job was ever called ends without a beginning."""
    beginning = [_BEGINNING] if batch["is_started"] else []
    return [*beginning, f"batch.{batch['status']}"] if batch["is_finished"] else beginning


def _listeners(batch: Row) -> list[str]:
    """Paths that are told of its end: the account's, and the one that it names itself."""
    paths = [_ALL] if batch["account_id"] == DEFAULT_ACCOUNT else []
    return [*paths, _path(batch["webhook_url"])] if batch["webhook_url"] else paths


def _path(url: str) -> str:
    return urlsplit(url).path


def _untaken(deliveries: Sequence[Row], told: Mapping[tuple[str, str], Told]) -> Iterator[Finding]:
    """What is not delivered, or is by the outbox alone."""
    members = {key: {job for job, _ in event.jobs} for key, event in told.items()}
    for row in deliveries:
        if row["state"] != "delivered":
            yield "undelivered", f"{row['type']} {row['id']} is {row['state']}"
            continue
        key = (_path(row["url"]), f"msg_{(row['digest_id'] or row['id']).hex}")
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


def _early(batches: set[str], told: Mapping[tuple[str, str], Told]) -> Iterator[Finding]:
    """A batch begins before it ends, also for each of its listeners."""
    starts: dict[tuple[str, str], list[int]] = defaultdict(list)
    ends: dict[tuple[str, str], list[int]] = defaultdict(list)
    for (path, _), event in told.items():
        if event.batch in batches and event.type != _BREAK:
            (starts if event.type == _BEGINNING else ends)[path, event.batch].append(event.order)
    for key, orders in ends.items():
        if key in starts and min(orders) < min(starts[key]):
            yield "out_of_order", f"the end of batch {key[1]} was told before its beginning"
