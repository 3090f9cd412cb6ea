"""Every request of the API, as a value: what is asked, with which body. Pure; nothing here connects."""

import os
import uuid
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import IO, Any, TypedDict
from urllib.parse import quote

from photabatch._bodies import AsyncJobs, Body, Bytes, FileBody, FilePath, JobLines, JobSpec, as_json, file_body
from photabatch.states import BatchStatus, JobState, Priority
from photabatch.types import Batch, Job, JobSubmitted

NDJSON = "application/x-ndjson"
MOST_JSON_JOBS = 10_000  # docs/contract.md; more go as JSONL
PAGE = 100
ANSWER_S = 600.0  # a million lines are checked and written before the answer comes
# The API sends something every 15 s; three in a row lost, and the connection is dead.
SILENCE_S = 45.0

BatchRef = str | uuid.UUID | Batch
JobRef = str | uuid.UUID | Job | JobSubmitted


class ManifestOptions(TypedDict, total=False):
    """How the jobs of a submission run.

    `name`: shown in lists. `budget_usd`: never overspent; the batch pauses. `window`: nothing begins outside it, as in
    `22:00-06:00@Europe/Paris`. `deadline`, an aware moment: what has not begun by then expires. `max_failure_rate`, 0
    to 1: the batch pauses if more of its jobs fail, judged from 20 on. `webhook_url`: told about the batch, and about
    the jobs' `webhook_events` named here (`job.succeeded` …), with `webhook_digest` many in one call. `skip_invalid`:
    queue the good jobs where some are not. `skip_done`: what a job that was sent so did before, to the same uploads or
    addresses, is not done and paid again. `idempotency_key`: 1 to 255 visible ASCII characters; the same submission
    again, within a day, returns the same batch; made up anew for each call where it is left out.
    """

    name: str
    budget_usd: Decimal | float
    window: str
    deadline: datetime | str
    max_failure_rate: float
    priority: Priority
    webhook_url: str
    webhook_events: list[str] | tuple[str, ...]
    webhook_digest: bool
    skip_invalid: bool
    skip_done: bool
    idempotency_key: str


class BatchOptions(ManifestOptions, total=False):
    """And `metadata`, a map of strings that is echoed; with it at most 10,000 jobs, sent in one piece."""

    metadata: Mapping[str, str]


# In one order whatever the caller's, since the same idempotency key asks for the same request.
_OPTIONS = sorted(BatchOptions.__optional_keys__ - {"idempotency_key"})


@dataclass(frozen=True, slots=True)
class Call:
    """One request. Seconds without a byte of the answer: `read_s` instead of the client's timeout, or at least
    `least_read_s`.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    read_s: float | None = None
    least_read_s: float = 0.0

    @property
    def is_repeatable(self) -> bool:
        return self.body is None or self.body.is_repeatable

    @property
    def idempotency_key(self) -> str | None:
        return self.headers.get("Idempotency-Key")


def submit_job(job: JobSpec, key: str | None) -> Call:
    return _post("/v1/jobs", key, Bytes(as_json(job)), "application/json")


def job(ref: JobRef) -> Call:
    return _get(f"/v1/jobs/{_id(ref)}")


def submit_batch(jobs: AsyncJobs, options: Mapping[str, Any], *, path: str = "/v1/batches") -> Call:
    """JSONL, streamed; JSON where there is metadata, which only that form has. Raise TypeError, ValueError."""
    if options.get("metadata"):
        return _json_batch(jobs, options, path)
    return _jsonl_batch(JobLines(jobs), options, path)


def submit_manifest(manifest: FilePath | IO[bytes], options: Mapping[str, Any], *, path: str = "/v1/batches") -> Call:
    """A JSONL file as it is. Raise OSError, TypeError."""
    if "metadata" in options:
        raise TypeError("a manifest takes no metadata for the batch; its jobs have their own")
    return _jsonl_batch(file_body(manifest), options, path)


def estimate(jobs: AsyncJobs | FilePath | IO[bytes], options: Mapping[str, Any]) -> Call:
    """Jobs, or a manifest of them. Raise OSError, TypeError, ValueError."""
    if isinstance(jobs, str | os.PathLike) or hasattr(jobs, "read"):
        return submit_manifest(jobs, options, path="/v1/estimates")  # type: ignore[arg-type]
    return submit_batch(jobs, options, path="/v1/estimates")


def upload(photo: bytes | FilePath, name: str | None) -> Call:
    """Raise OSError."""
    is_bytes = isinstance(photo, bytes | bytearray | memoryview)
    body = Bytes(bytes(photo)) if is_bytes else FileBody(photo)  # type: ignore[arg-type]
    return _post("/v1/uploads", None, body, "application/octet-stream", query=_query({"name": name}))


def batch(ref: BatchRef, *, read_s: float | None = None) -> Call:
    return _get(f"/v1/batches/{_id(ref)}", read_s=read_s)


def batches(status: BatchStatus | str | None, *, limit: int = PAGE, after: str | None = None) -> Call:
    return _get("/v1/batches", query=_query({"status": status, "limit": limit, "after": after}))


def jobs(
    ref: BatchRef, state: JobState | str | None, code: str | None, *, limit: int = PAGE, after: str | None = None
) -> Call:
    query = _query({"state": state, "code": code, "limit": limit, "after": after})
    return _get(f"/v1/batches/{_id(ref)}/jobs", query=query)


def results(ref: BatchRef) -> Call:
    return _get(f"/v1/batches/{_id(ref)}/results", accept=NDJSON)


def events(ref: BatchRef, *, silence_s: float = SILENCE_S) -> Call:
    return _get(f"/v1/batches/{_id(ref)}/events", accept="text/event-stream", read_s=silence_s)


def act(ref: BatchRef, verb: str, key: str | None, **fields: Any) -> Call:
    """`pause`, `resume`, `cancel`, `retry`; fields that are None are left out."""
    told = {name: value for name, value in fields.items() if value is not None}
    body = Bytes(as_json(told)) if told else None
    return _post(f"/v1/batches/{_id(ref)}/{verb}", key, body, "application/json" if told else None)


def _json_batch(jobs: AsyncJobs, options: Mapping[str, Any], path: str) -> Call:
    if isinstance(jobs, AsyncIterable):
        raise TypeError("with metadata, jobs must be an ordinary iterable")
    listed = list(islice(jobs, MOST_JSON_JOBS + 1))
    check_number(len(listed))
    body = Bytes(as_json({**_told(options), "jobs": listed}))
    return _post(path, options.get("idempotency_key"), body, "application/json", least_read_s=ANSWER_S)


def _jsonl_batch(body: Body, options: Mapping[str, Any], path: str) -> Call:
    key, query = options.get("idempotency_key"), _query(_told(options))
    return _post(path, key, body, NDJSON, query=query, least_read_s=ANSWER_S)


def _told(options: Mapping[str, Any]) -> dict[str, Any]:
    check_names(options)
    return {name: options[name] for name in _OPTIONS if options.get(name) is not None}


def check_number(jobs: int) -> None:
    """Of a batch with metadata. Raise ValueError."""
    if jobs > MOST_JSON_JOBS:
        raise ValueError(f"a batch with metadata has at most {MOST_JSON_JOBS} jobs; leave the metadata out")


def check_names(options: Mapping[str, Any], *, hint: str = "") -> None:
    """Raise TypeError for options that there are none of."""
    if unknown := set(options).difference(_OPTIONS, {"idempotency_key"}):
        raise TypeError(f"unknown option {', '.join(sorted(unknown))}{hint}")


def _get(
    path: str, *, query: tuple[tuple[str, str], ...] = (), accept: str = "application/json", read_s: float | None = None
) -> Call:
    headers = {"Accept": accept}
    if accept == "text/event-stream":
        headers |= {"Accept-Encoding": "identity", "Cache-Control": "no-store"}  # nothing held back to be compressed
    return Call("GET", path, query, headers, read_s=read_s)


def _post(
    path: str,
    key: str | None,
    body: Body | None,
    content_type: str | None,
    *,
    query: tuple[tuple[str, str], ...] = (),
    least_read_s: float = 0.0,
) -> Call:
    headers = {"Accept": "application/json", "Idempotency-Key": _checked(key) if key is not None else uuid.uuid4().hex}
    if content_type:
        headers["Content-Type"] = content_type
    return Call("POST", path, query, headers, body, least_read_s=least_read_s)


def _checked(key: str) -> str:
    if not 1 <= len(key) <= 255 or not all("!" <= letter <= "~" for letter in key):
        raise ValueError("idempotency_key: 1 to 255 visible ASCII characters")
    return key


def _id(ref: BatchRef | JobRef) -> str:
    """For a path: whatever the text, it stays one segment."""
    text = str(ref if isinstance(ref, str | uuid.UUID) else ref.id)
    if text in ("", ".", ".."):
        raise ValueError("an id must not be empty")
    return quote(text, safe="")


def _query(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        for each in value if isinstance(value, list | tuple) else [value]:
            if each is not None:
                pairs.append((name, _text(each)))
    return tuple(pairs)


def _text(value: Any) -> str:
    """As a query parameter has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)
