"""After a run: Postgres, Phota's ledger, the bucket and the receiver must tell the same story.

Nothing here believes the product: finals come from a trigger of our own, charges from the simulated Phota, pictures
from the bucket itself, events from what the receiver verified.
"""

import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import Any

from PIL import Image
from sqlalchemy import RowMapping, text

from chaos.receiver import Told
from chaos.world import World
from clients.storage import StorageError
from models import DEFAULT_ACCOUNT
from models.states import FINAL_STATES, JobState

_WORKING = tuple(state for state in JobState if not state.is_final)
_MAX_BYTES = 2**20
_AT_ONCE = 8  # objects read
_SHOWN = 5  # examples of each violation


@dataclass
class Verdict:
    """How many of each violation, with examples. `jobs`: how many were judged."""

    jobs: int = 0
    lost: int = 0  # accepted, but not in the table, in no final state, or paid for without its picture
    charged_twice: int = 0
    charged_wrongly: int = 0  # a charge of no job, or of one that should never have called
    unpaid: int = 0  # succeeded, though nothing was charged
    two_finals: int = 0  # a final state that was left, or entered twice
    partial: int = 0  # an output whose object is missing, other than its row, does not decode, or is another job's
    undelivered: int = 0  # an event that the receiver never took, or that is not delivered by the outbox
    out_of_order: int = 0  # a batch's end told before its beginning; an event whose content changed between tries
    miscounted: int = 0  # counts that do not add up, money over budget, an end that is not the jobs'
    needs_person: int = 0  # not a violation: ended as needs_review or worker_lost, for a person to decide
    examples: list[str] = field(default_factory=list)

    @property
    def violations(self) -> int:
        counted = [each.name for each in fields(self) if each.name not in ("jobs", "needs_person", "examples")]
        return sum(int(getattr(self, name)) for name in counted)

    def add(self, other: "Verdict") -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def note(self, kind: str, subjects: Iterable[object]) -> None:
        found = [str(subject) for subject in subjects]
        setattr(self, kind, getattr(self, kind) + len(found))
        self.examples += [f"{kind}: {subject}" for subject in found[:_SHOWN]]


_JOBS = """
    SELECT job.id, job.state, job.client_request_id, job.remote_job_id, job.cost_usd, job.estimate_usd, job.error_code,
           job.superseded_at IS NOT NULL AS is_superseded, job.retry_of IS NULL AS is_first,
           batch.id AS batch_id, batch.slug, job.account_id
    FROM jobs AS job JOIN batches AS batch ON batch.id = job.batch_id WHERE batch.name LIKE :prefix
"""
_OUTPUTS = """
    SELECT job.id, job.state, job.client_request_id, output.bucket, output.key, output.bytes, output.sha256
    FROM outputs AS output JOIN jobs AS job ON job.id = output.job_id JOIN batches AS batch ON batch.id = job.batch_id
    WHERE batch.name LIKE :prefix
"""
_FINALS = """
    SELECT watched.job_id, array_agg(watched.state ORDER BY watched.id) AS states
    FROM chaos_finals AS watched JOIN jobs AS job ON job.id = watched.job_id
    JOIN batches AS batch ON batch.id = job.batch_id WHERE batch.name LIKE :prefix GROUP BY watched.job_id
"""
_BATCHES = """
    SELECT batch.id, batch.slug, batch.status, batch.closes_at <= now() - interval '5 s' AS is_closed, batch.budget_usd,
           batch.cancelled_at IS NOT NULL AS is_cancelled, batch.webhook_url,
           progress.total, progress.reserved_usd, progress.spent_usd, to_jsonb(progress) AS progress
    FROM batches AS batch JOIN batch_progress AS progress ON progress.batch_id = batch.id
    WHERE batch.name LIKE :prefix
"""
_DELIVERIES = """
    SELECT delivery.id, delivery.type, delivery.state, delivery.url, delivery.job_id, delivery.batch_id
    FROM deliveries AS delivery LEFT JOIN jobs AS job ON job.id = delivery.job_id
    JOIN batches AS batch ON batch.id = coalesce(delivery.batch_id, job.batch_id) WHERE batch.name LIKE :prefix
"""


def judge(world: World, prefix: str, *, accepted: int, allows_review: bool = False) -> Verdict:
    """All jobs of batches whose name begins with `prefix`; `accepted`: how many producers were told are in.

    `allows_review`: faults were injected that leave a call's outcome unknown for good, so a charge without a picture is
    right if the job says that a person must look.
    """
    verdict = Verdict()
    jobs = _read(world, _JOBS, prefix)
    verdict.jobs = len(jobs)
    if (found := sum(job["is_first"] for job in jobs)) != accepted:
        verdict.note("lost", [f"{accepted} jobs were accepted, {found} are in the table"])
    _judge_states(world, prefix, jobs, verdict)
    ledger: list[dict[str, Any]] = world.ledger()["charges"]
    _judge_charges(jobs, ledger, verdict, allows_review=allows_review)
    _judge_outputs(world, prefix, jobs, ledger, verdict)
    _judge_batches(world, prefix, jobs, verdict)
    _judge_events(world, prefix, jobs, verdict)
    return verdict


def _read(world: World, statement: str, prefix: str) -> Sequence[RowMapping]:
    with world.engine.connect() as connection:
        return connection.execute(text(statement), {"prefix": f"{prefix}%"}).mappings().all()


def _judge_states(world: World, prefix: str, jobs: Sequence[RowMapping], verdict: Verdict) -> None:
    verdict.note("lost", [f"{job['id']} is {job['state']}" for job in jobs if job["state"] not in FINAL_STATES])
    finals = {row["job_id"]: row["states"] for row in _read(world, _FINALS, prefix)}
    ended = [job for job in jobs if job["state"] in FINAL_STATES]
    wrong = [job for job in ended if finals.get(job["id"]) != [job["state"]]]
    verdict.note("two_finals", [f"{job['id']} is {job['state']}, was {finals.get(job['id'])}" for job in wrong])
    asking = [job for job in jobs if job["error_code"] in ("needs_review", "worker_lost")]
    verdict.needs_person += len(asking)


def _judge_charges(
    jobs: Sequence[RowMapping], ledger: Sequence[Mapping[str, Any]], verdict: Verdict, *, allows_review: bool
) -> None:
    charges: Counter[str] = Counter()
    cost: dict[str, float] = defaultdict(float)
    for charge in ledger:
        charges[charge["client_request_id"]] += 1
        cost[charge["client_request_id"]] += charge["cost_usd"]
    verdict.note(
        "charged_twice", [f"{job['id']} {n} times" for job in _latest(jobs) if (n := _times(job, charges)) > 1]
    )
    uncalled = [job for job in jobs if job["state"] in ("cancelled", "expired", "rejected", "skipped")]
    verdict.note("charged_wrongly", [f"{job['id']} {job['state']}" for job in uncalled if _times(job, charges)])
    done = [job for job in jobs if job["state"] == "succeeded"]
    verdict.note("unpaid", [job["id"] for job in done if not _times(job, charges)])
    wrong = [job for job in done if abs(float(job["cost_usd"]) - cost[job["client_request_id"]]) > 0.0001]
    verdict.note("miscounted", [f"{job['id']} costs {job['cost_usd']} by its row" for job in wrong])
    failed = [job for job in _latest(jobs) if job["state"] == "failed" and _times(job, charges)]
    verdict.note(
        "lost", [f"{job['id']} paid, {job['error_code']}" for job in failed if not _is_told(job, allows_review)]
    )


def _latest(jobs: Sequence[RowMapping]) -> Iterator[RowMapping]:
    """Of each chain of retries the last one: earlier ones share its call."""
    return (job for job in jobs if not job["is_superseded"])


def _times(job: RowMapping, charges: Mapping[str, int]) -> int:
    return charges.get(job["client_request_id"], 0)


def _is_told(job: RowMapping, allows_review: bool) -> bool:
    """Whether a person is asked, and the money is in the books."""
    return allows_review and job["error_code"] in ("needs_review", "worker_lost") and job["cost_usd"] is not None


def _judge_outputs(
    world: World, prefix: str, jobs: Sequence[RowMapping], ledger: Sequence[Mapping[str, Any]], verdict: Verdict
) -> None:
    outputs = _read(world, _OUTPUTS, prefix)
    made_by: dict[str, list[str]] = defaultdict(list)
    for charge in ledger:
        made_by[charge["client_request_id"]].append(charge["job_id"])
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        faults = list(pool.map(lambda output: _fault_of(world, output, made_by), outputs))
    verdict.note("partial", [fault for fault in faults if fault])
    kept = {output["id"] for output in outputs}
    verdict.note(
        "partial",
        [f"{job['id']} has no output" for job in jobs if job["state"] == "succeeded" and job["id"] not in kept],
    )


def _fault_of(world: World, output: RowMapping, made_by: Mapping[str, Sequence[str]]) -> str | None:
    """What is wrong with a stored picture; None if nothing is. `made_by`: by request, Phota's jobs in its ledger."""
    name = f"{output['id']} {output['key']}"
    if output["state"] != "succeeded":
        return f"{name}: of a job that is {output['state']}"
    try:
        data = world.storage.get(output["bucket"], output["key"], max_bytes=_MAX_BYTES)
    except StorageError as error:
        return f"{name}: {error}"
    if (len(data), hashlib.sha256(data).hexdigest()) != (output["bytes"], output["sha256"]):
        return f"{name}: {len(data)} bytes, not those of its row"
    try:
        Image.open(io.BytesIO(data)).load()
    except (OSError, SyntaxError) as error:
        return f"{name}: {error}"
    is_own = any(job.encode() in data for job in made_by.get(output["client_request_id"], ()))
    return None if is_own else f"{name}: the picture of another job"


def _judge_batches(world: World, prefix: str, jobs: Sequence[RowMapping], verdict: Verdict) -> None:
    states: dict[Any, Counter[str]] = defaultdict(Counter)
    for job in _latest(jobs):
        states[job["batch_id"]][job["state"]] += 1
    for batch in _read(world, _BATCHES, prefix):
        truth, told = states[batch["id"]], batch["progress"]
        wrong = [f"{state} {told[state]}, not {truth[state]}" for state in FINAL_STATES if told[state] != truth[state]]
        if batch["total"] != sum(truth.values()):
            wrong.append(f"total {batch['total']}, not {sum(truth.values())}")
        if batch["budget_usd"] is not None and batch["spent_usd"] + batch["reserved_usd"] > batch["budget_usd"]:
            wrong.append(f"{batch['spent_usd']} + {batch['reserved_usd']} of a budget of {batch['budget_usd']}")
        if batch["is_closed"] and all(state in FINAL_STATES for state in truth):
            wrong += _wrong_end(batch, truth)
        verdict.note("miscounted", [f"{batch['slug']}: {each}" for each in wrong])


def _wrong_end(batch: RowMapping, truth: Counter[str]) -> list[str]:
    """A batch is called what its jobs have become, as docs/contract.md says."""
    good, total = truth["succeeded"] + truth["skipped"], sum(truth.values())
    expected = "completed" if good == total else "completed_with_errors" if good else "failed"
    if batch["is_cancelled"]:
        expected = "cancelled"
    elif truth["expired"] == total:
        expected = "expired"
    return [] if batch["status"] == expected else [f"it is {batch['status']}, not {expected}"]


def _judge_events(world: World, prefix: str, jobs: Sequence[RowMapping], verdict: Verdict) -> None:
    deliveries = _read(world, _DELIVERIES, prefix)
    pending = [row for row in deliveries if row["state"] != "delivered"]
    verdict.note("undelivered", [f"{row['type']} {row['id']} is {row['state']}" for row in pending])
    told_jobs, told_batches = _told(world.receiver.told)
    path_of = {row["id"]: row["url"].partition("//")[2].partition("/")[2] for row in deliveries}
    for row in deliveries:
        path = f"/{path_of[row['id']]}"
        is_told = (
            (path, str(row["job_id"])) in told_jobs
            if row["job_id"]
            else (path, str(row["batch_id"]), row["type"]) in told_batches
        )
        if row["state"] == "delivered" and not is_told:
            verdict.note("undelivered", [f"{row['type']} {row['id']} was never taken"])
    _judge_order(jobs, deliveries, told_jobs, verdict)
    starts = {key[:2]: told.order for key, told in told_batches.items() if key[2] == "batch.started"}
    ends = {
        key[:2]: told.order for key, told in told_batches.items() if key[2] not in ("batch.started", "batch.paused")
    }
    mine = {str(job["batch_id"]) for job in jobs}
    early = [key[1] for key, order in ends.items() if key[1] in mine and order < starts.get(key, 0)]
    verdict.note("out_of_order", [f"the end of batch {each} was told before its beginning" for each in early])


def _judge_order(
    jobs: Sequence[RowMapping],
    deliveries: Sequence[RowMapping],
    told: Mapping[tuple[str, str], tuple[str, Told]],
    verdict: Verdict,
) -> None:
    """Every job of the account that listens to everything has its event, and it tells the state that the row has."""
    evented = {row["job_id"] for row in deliveries if row["job_id"]}
    loud = [job for job in jobs if job["account_id"] == DEFAULT_ACCOUNT and job["state"] not in ("skipped", *_WORKING)]
    verdict.note("undelivered", [f"no event of {job['id']}" for job in loud if job["id"] not in evented])
    state_of = {str(job["id"]): job["state"] for job in jobs}
    wrong = [(job, state) for (_, job), (state, _) in told.items() if job in state_of and state_of[job] != state]
    verdict.note("two_finals", [f"{job} was told as {state}" for job, state in wrong])


def _told(
    told: Mapping[tuple[str, str], Told],
) -> tuple[dict[tuple[str, str], tuple[str, Told]], dict[tuple[str, str, str], Told]]:
    """By path and job; by path, batch and type."""
    jobs: dict[tuple[str, str], tuple[str, Told]] = {}
    batches: dict[tuple[str, str, str], Told] = {}
    for (path, _), event in list(told.items()):
        for job, state in event.jobs:
            jobs[path, job] = (state, event)
        if event.batch:
            batches[path, event.batch, event.type] = event
    return jobs, batches
