"""`submit`: the one place where jobs enter, whoever produced them."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from clients.phota_requests import InvalidRequest, Problem
from models import DEFAULT_ACCOUNT, JobState, Priority, inserts, new_id
from models.dispatch import notify
from models.inserts import BatchRef
from producer.database import default_engine
from producer.jobs import CheckedJob, check
from producer.ownership import Owner, Room, owner_of
from settings import get_settings

_ROWS = 1_000  # in one statement


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that is in the table now. `is_new` is False where its idempotency key or custom_id was there before."""

    id: uuid.UUID
    custom_id: str | None
    state: JobState
    is_new: bool


class InvalidJobs(ValueError):  # noqa: N818 - the contract's word
    """Some jobs do not validate; nothing was queued. `problems`: index of the job, and what is wrong."""

    def __init__(self, problems: Sequence[tuple[int, Problem]]) -> None:
        self.problems = list(problems)
        shown = "\n".join(f"job {index}: {problem.message}" for index, problem in self.problems[:20])
        more = f"\n… and {len(self.problems) - 20} more" if len(self.problems) > 20 else ""
        super().__init__(f"{len(self.problems)} problems, nothing was queued\n{shown}{more}")


class BatchClosed(ValueError):  # noqa: N818
    """The batch takes no more jobs."""


def submit(
    jobs: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    *,
    batch: BatchRef | None = None,
    session: Session | Connection | None = None,
    account_id: uuid.UUID = DEFAULT_ACCOUNT,
) -> list[Submitted]:
    """Queue one job or many, in manifest form: `{"operation": "enhance", "params": {"image": "s3://…"}, …}`.

    With `session` everything happens in the caller's transaction, and nothing starts before its commit; without it, in
    one of its own. Raise InvalidJobs, QueueFull or BatchClosed, and queue nothing.
    """
    several = [jobs] if isinstance(jobs, Mapping) else jobs
    checked = _check_all(several)
    with _transaction(session) as connection:
        return insert(connection, checked, batch=batch, account_id=account_id)


def _check_all(jobs: Iterable[Mapping[str, Any]]) -> list[CheckedJob]:
    allowed = get_settings().allowed_hosts
    problems: list[tuple[int, Problem]] = []
    checked: list[CheckedJob] = []
    seen: dict[str, int] = {}
    for index, job in enumerate(jobs):
        try:
            checked.append(check(job, allowed_hosts=allowed))
        except InvalidRequest as error:
            problems += [(index, problem) for problem in error.problems]
            continue
        custom_id = checked[-1].spec.custom_id
        if custom_id is not None and seen.setdefault(custom_id, index) != index:
            text = f"custom_id: {custom_id!r} is that of job {seen[custom_id]} too"
            problems.append((index, Problem("custom_id", "duplicate_custom_id", text)))
    if problems:
        raise InvalidJobs(problems)
    return checked


def insert(
    connection: Connection,
    jobs: Sequence[CheckedJob],
    *,
    batch: BatchRef | None = None,
    account_id: uuid.UUID = DEFAULT_ACCOUNT,
    owner: Owner | None = None,
) -> list[Submitted]:
    """Queue checked jobs; those whose custom_id or idempotency key is known already are told, not queued again.

    What was done before, by its content, is `skipped` from the start.

    `owner`: the account, where the caller has it at hand. Raise InvalidJobs for what the account may not use,
    QueueFull, BatchClosed: then roll back.
    """
    owner = owner or owner_of(connection, account_id, bucket=get_settings().s3_bucket)
    _check_owner(jobs, owner)
    room = Room(connection, owner.account)
    submitted = _insert_rows(connection, [_row(job, batch, owner) for job in jobs], batch)
    room.take(sum(each.is_new and not each.state.is_final for each in submitted))
    return submitted


def _check_owner(jobs: Sequence[CheckedJob], owner: Owner) -> None:
    problems: list[tuple[int, Problem]] = []
    for index, job in enumerate(jobs):
        try:
            owner.check_inputs(job.params)
            owner.check_output(job.output)
        except InvalidRequest as error:
            problems += [(index, problem) for problem in error.problems]
    if problems:
        raise InvalidJobs(problems)


def insert_rejected(
    connection: Connection,
    *,
    operation: str,
    params: Mapping[str, Any],
    problem: Problem,
    custom_id: str | None = None,
    idempotency_key: str | None = None,
    source: Mapping[str, Any] | None = None,
    content_key: str | None = None,
    batch: BatchRef | None = None,
    account_id: uuid.UUID = DEFAULT_ACCOUNT,
) -> Submitted:
    """Keep a trace of what cannot be done: a job that is `rejected` from the start, and costs nothing."""
    row = {
        **_identity(batch, account_id),
        "custom_id": _storable(custom_id),
        "idempotency_key": _storable(idempotency_key),
        "operation": operation,
        "params": _storable(params),
        "output": "",
        "source": dict(source) if source else None,
        "content_key": content_key,
        "priority": Priority.NORMAL,
        "metadata": {},
        "estimate_usd": "0",
        "state": JobState.REJECTED,
        "error_code": problem.code,
        "error_message": _storable(problem.message),
    }
    return _insert_rows(connection, [row], batch)[0]


def _insert_rows(connection: Connection, rows: list[dict[str, Any]], batch: BatchRef | None) -> list[Submitted]:
    if batch is not None:
        check_open(connection, batch)
    submitted: list[Submitted] = []
    for start in range(0, len(rows), _ROWS):
        submitted += _insert_some(connection, rows[start : start + _ROWS])
    notify(connection)
    return submitted


def check_open(connection: Connection, batch: BatchRef) -> None:
    """It takes jobs, and will until the commit. Raise BatchClosed."""
    now = inserts.lock_batch(connection, batch.id)
    if now is None or not now.is_open:
        raise BatchClosed(f"the batch {batch.name} takes no more jobs")


def _insert_some(connection: Connection, rows: list[dict[str, Any]]) -> list[Submitted]:
    new = inserts.insert_jobs(connection, rows)
    old = inserts.existing_jobs(connection, [row for row in rows if uuid.UUID(row["id"]) not in new])
    submitted = []
    for row in rows:
        wanted = uuid.UUID(row["id"])
        job_id, state = (wanted, new[wanted]) if wanted in new else old[wanted]
        submitted.append(Submitted(job_id, row["custom_id"], JobState(state), wanted in new))
    return submitted


def _storable(params: Any) -> Any:
    """Whatever was sent, as far as Postgres can keep it: no NUL, no half surrogates."""
    if isinstance(params, str):
        return params.replace("\0", "").encode(errors="replace").decode()
    if isinstance(params, Mapping):
        return {_storable(str(name)): _storable(value) for name, value in params.items()}
    if isinstance(params, list | tuple):
        return [_storable(value) for value in params]
    return params if isinstance(params, int | float | bool | None) else str(params)


def _row(job: CheckedJob, batch: BatchRef | None, owner: Owner) -> dict[str, Any]:
    spec = job.spec
    priority = job.priority if job.priority is not None else (batch.priority if batch else Priority.NORMAL)
    return {
        **_identity(batch, owner.account.id),
        **spec.model_dump(mode="json", exclude={"params", "priority", "output"}),
        "params": job.params.body(),
        "output": job.output or owner.default_output(in_batch=batch is not None),
        "source": job.source,
        "content_key": job.content_key,
        "is_redo": job.is_redo,
        "priority": priority,
        "estimate_usd": str(job.high_usd),
        "state": JobState.QUEUED,
    }


def _identity(batch: BatchRef | None, account_id: uuid.UUID) -> dict[str, Any]:
    """Phota charges once for a `client_request_id`: it is the job's own id, so it is older than any call."""
    job_id = new_id()
    return {
        "id": str(job_id),
        "client_request_id": job_id.hex,
        "account_id": str(account_id),
        "batch_id": str(batch.id) if batch else None,
    }


@contextmanager
def _transaction(session: Session | Connection | None) -> Iterator[Connection]:
    if session is None:
        with default_engine().begin() as connection:
            yield connection
    elif isinstance(session, Session):
        yield session.connection()
    else:
        yield session
