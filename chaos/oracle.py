"""After a run: Postgres, Phota's ledger, the bucket and the receiver must tell the same story.

Nothing here believes the product: finals come from a trigger of our own, charges from the simulated Phota, pictures
from the bucket itself, events from what the receiver verified.
"""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import RowMapping, text

from chaos.oracle_batches import judge_accounts, judge_batches
from chaos.oracle_events import Finding, Row, judge_events
from chaos.oracle_pictures import asked_otherwise, judge_outputs
from chaos.world import World, wait_for
from models.states import FINAL_STATES

_SHOWN = 5  # examples of each violation
_BOOKED_WITHIN_S = 60.0  # Phota books at the end of a call, also of one that nobody waits for any more


@dataclass
class Verdict:
    """How many of each violation, with examples. `jobs`: how many were judged."""

    jobs: int = 0
    lost: int = (
        0  # accepted, but not in the table (or twice), in no final state, paid for without its picture, or dropped
    )
    charged_twice: int = 0
    charged_wrongly: int = 0  # a charge of no job, or of one that should never have called
    unpaid: int = 0  # succeeded, though nothing was charged
    two_finals: int = 0  # a final state that was left, entered twice, or rewritten
    partial: int = 0  # an output too few, or whose object is missing, other than its row, broken, or another job's
    undelivered: int = 0  # an event that the receiver never took, or that is not delivered by the outbox
    out_of_order: int = 0  # an event told too early, under a strange id, unsigned, or with other content than before
    miscounted: int = 0  # counts or money that do not add up, money over budget, an end that is not the jobs'
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

    def take(self, findings: Iterable[Finding]) -> None:
        subjects: dict[str, list[str]] = defaultdict(list)
        for kind, subject in findings:
            subjects[kind].append(subject)
        for kind, found in subjects.items():
            self.note(kind, found)


_JOBS = """
    SELECT job.id, job.state, job.client_request_id, job.remote_job_id, job.cost_usd, job.estimate_usd, job.error_code,
           job.superseded_at IS NOT NULL AS is_superseded, job.retry_of, job.custom_id,
           batch.id AS batch_id, batch.slug, job.account_id, job.params ->> 'prompt' AS prompt,
           batch.cancelled_at IS NOT NULL AS is_of_cancelled
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
           batch.cancelled_at IS NOT NULL AS is_cancelled, batch.webhook_url, batch.webhook_events, batch.account_id,
           batch.started_at IS NOT NULL AS is_started,
           extract(epoch FROM batch.created_at)::float8 AS created_s,
           progress.total, progress.reserved_usd, progress.spent_usd, to_jsonb(progress) AS progress
    FROM batches AS batch JOIN batch_progress AS progress ON progress.batch_id = batch.id
    WHERE batch.name LIKE :prefix
"""
_MOVES = """
    SELECT batch.slug, moved.* FROM chaos_moves AS moved JOIN batches AS batch ON batch.id = moved.batch_id
    WHERE batch.name LIKE :prefix ORDER BY moved.id
"""
_ACCOUNTS = """
    SELECT account.name, coalesce(booked.usd, 0) AS booked_usd, coalesce(spent.usd, 0) AS spent_usd
    FROM accounts AS account
    LEFT JOIN (SELECT account_id, sum(usd) AS usd FROM (SELECT account_id, usd FROM account_days
               UNION ALL SELECT account_id, usd FROM account_deltas) AS each GROUP BY 1) AS booked
           ON booked.account_id = account.id
    LEFT JOIN (SELECT account_id, sum(cost_usd) AS usd FROM jobs GROUP BY 1) AS spent ON spent.account_id = account.id
    WHERE NOT EXISTS (SELECT FROM jobs WHERE finished_at IS NULL)
"""
_DELIVERIES = """
    SELECT delivery.id, delivery.seq, delivery.type, delivery.state, delivery.url, delivery.job_id, delivery.batch_id,
           delivery.digest_id
    FROM deliveries AS delivery LEFT JOIN jobs AS job ON job.id = delivery.job_id
    JOIN batches AS batch ON batch.id = coalesce(delivery.batch_id, job.batch_id) WHERE batch.name LIKE :prefix
"""


def judge(world: World, prefix: str, *, accepted: int | None, allows_review: bool = False) -> Verdict:
    """All jobs of batches whose name begins with `prefix`; `accepted`: how many producers were told are in, if known.

    `allows_review`: faults were injected that leave a call's outcome unknown for good, so a charge without a picture is
    right if the job says that a person must look.
    """
    verdict = Verdict()
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: not world.ledger(totals=True)["in_flight"], at_most_s=_BOOKED_WITHIN_S)
    jobs, batches = _read(world, _JOBS, prefix), _read(world, _BATCHES, prefix)
    judge_numbers(jobs, accepted, verdict)
    judge_states(jobs, {row["job_id"]: row["states"] for row in _read(world, _FINALS, prefix)}, verdict)
    ledger: list[dict[str, Any]] = world.ledger()["charges"]
    judge_charges(jobs, ledger, verdict, allows_review=allows_review)
    since_s = min((batch["created_s"] for batch in batches), default=0.0)
    strange = strangers(jobs, ledger, since_s=since_s)
    verdict.note("charged_wrongly", [f"{each}, which no job is" for each in strange - _known(world, strange)])
    verdict.take(judge_outputs(world, jobs, _read(world, _OUTPUTS, prefix), ledger))
    verdict.take(asked_otherwise(jobs, world.asked(since_s=since_s)))
    moves = _read(world, _MOVES, prefix)
    verdict.take(judge_batches(jobs, batches, moves))
    verdict.take(judge_accounts(_read(world, _ACCOUNTS, prefix)))
    told, deliveries = dict(world.receiver.told), _read(world, _DELIVERIES, prefix)
    verdict.take(judge_events(jobs, batches, moves, deliveries, told, listeners=world.listeners))
    verdict.note("out_of_order", world.receiver.complaints())
    return verdict


def _read(world: World, statement: str, prefix: str) -> Sequence[RowMapping]:
    with world.engine.connect() as connection:
        return connection.execute(text(statement), {"prefix": f"{prefix}%"}).mappings().all()


def judge_numbers(jobs: Sequence[Row], accepted: int | None, verdict: Verdict) -> None:
    """Every job that was accepted is there, and once: one lost and one doubled would add up."""
    verdict.jobs = len(jobs)
    first = [job for job in jobs if job["retry_of"] is None]
    if accepted not in (None, len(first)):
        verdict.note("lost", [f"{accepted} jobs were accepted, {len(first)} are in the table"])
    names = Counter((job["slug"], job["custom_id"]) for job in first if job["custom_id"] is not None)
    verdict.note("lost", [f"{name} of {slug} is twice in the table" for (slug, name), n in names.items() if n > 1])


def judge_states(jobs: Sequence[Row], finals: Mapping[Any, Sequence[str]], verdict: Verdict) -> None:
    """`finals`: by job, the final states it was seen to enter, in order; ones that were rewritten say so."""
    verdict.note("lost", [f"{job['id']} is {job['state']}" for job in jobs if job["state"] not in FINAL_STATES])
    ended = [job for job in jobs if job["state"] in FINAL_STATES]
    wrong = [job for job in ended if finals.get(job["id"]) != [job["state"]]]
    verdict.note("two_finals", [f"{job['id']} is {job['state']}, was {finals.get(job['id'])}" for job in wrong])
    dropped = [job for job in jobs if job["state"] == "cancelled" and not job["is_of_cancelled"]]
    verdict.note("lost", [f"{job['id']} is cancelled, though nobody cancelled its batch" for job in dropped])
    asking = [job for job in jobs if job["error_code"] in ("needs_review", "worker_lost")]
    verdict.needs_person += len(asking)


def judge_charges(jobs: Sequence[Row], ledger: Sequence[Row], verdict: Verdict, *, allows_review: bool) -> None:
    """`ledger`: charges as Phota tells them."""
    charges: Counter[str] = Counter()
    cost: dict[str, float] = defaultdict(float)
    for charge in ledger:
        charges[charge["client_request_id"]] += 1
        cost[charge["client_request_id"]] += charge["cost_usd"]
    paid = {first: sum(charges[each] for each in ids) for first, ids in _chains(jobs).items()}
    verdict.note("charged_twice", [f"{first} {n} times" for first, n in paid.items() if n > 1])
    uncalled = [job for job in jobs if job["state"] in ("cancelled", "expired", "rejected", "skipped")]
    verdict.note("charged_wrongly", [f"{job['id']} {job['state']}" for job in uncalled if _times(job, charges)])
    done = [job for job in jobs if job["state"] == "succeeded"]
    verdict.note("unpaid", [job["id"] for job in done if not _times(job, charges)])
    failed = [job for job in _latest(jobs) if job["state"] == "failed" and _times(job, charges)]
    wrong = [
        job for job in [*done, *failed] if abs(float(job["cost_usd"] or 0) - cost[job["client_request_id"]]) > 1e-4
    ]
    verdict.note("miscounted", [f"{job['id']} costs {job['cost_usd']} by its row" for job in wrong])
    verdict.note(
        "lost", [f"{job['id']} paid, {job['error_code']}" for job in failed if not _is_told(job, allows_review)]
    )


def _chains(jobs: Sequence[Row]) -> dict[Any, set[str]]:
    """By the id of the first generation: whatever it and its retries call themselves to Phota."""
    before = {job["id"]: job["retry_of"] for job in jobs}
    chains: dict[Any, set[str]] = defaultdict(set)
    for job in jobs:
        first = job["id"]
        while before.get(first) is not None:
            first = before[first]
        chains[first].add(job["client_request_id"])
    return chains


def strangers(jobs: Sequence[Row], ledger: Sequence[Row], *, since_s: float) -> set[str | None]:
    """What was charged since then under the id of none of these jobs."""
    charged = {charge["client_request_id"] for charge in ledger if charge["at"] >= since_s}
    return charged - {job["client_request_id"] for job in jobs}


def _known(world: World, ids: Collection[str | None]) -> set[str | None]:
    """Those that a job of any row has."""
    if not ids:
        return set()
    statement = text("SELECT client_request_id FROM jobs WHERE client_request_id = ANY(:ids)")
    with world.engine.connect() as connection:
        return set(connection.execute(statement, {"ids": [each for each in ids if each]}).scalars())


def _latest(jobs: Sequence[Row]) -> Iterator[Row]:
    """Of each chain of retries the last one: earlier ones share its call."""
    return (job for job in jobs if not job["is_superseded"])


def _times(job: Row, charges: Mapping[str, int]) -> int:
    return charges.get(job["client_request_id"], 0)


def _is_told(job: Row, allows_review: bool) -> bool:
    """Whether a person is asked."""
    return allows_review and job["error_code"] in ("needs_review", "worker_lost")
