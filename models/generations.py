"""Retries: a failed job is put aside and a new row, its next generation, counts in its place.

A final state is left by nothing, so the old row stays as it ended. One transaction, opened by the caller, which holds
the batch (`models.controls.hold_batch`).
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from models.job import IS_BUSY, IS_UNCLEAR

_BITE = 5_000  # rows in one statement
_A_SECOND = 50.0  # so many of a bite are asked for or sent again in a second: admission does not hold them back


class Fate(StrEnum):
    """What a failed job's next generation begins as."""

    FRESH = "fresh"  # a new call: nothing was charged, or the user pays again; none if it was done meanwhile
    COLLECT = "collect"  # paid or perhaps paid, and Phota knows it: asked for and stored again
    RESEND = "resend"  # perhaps charged: the same `client_request_id` again is free while Phota remembers it
    STUCK = "stuck"  # perhaps charged, and too old for that, or its like is under way: none
    REFUSED = "refused"  # never was a job, only the trace of one (`producer.submission.insert_rejected`): none


_WAS_COLLECTED = "client_request_id <> replace(id::text, '-', '')"  # it went on with an earlier generation's call
# By another batch, or by another job of this one: admission skips it then, whatever became of its own call.
_IS_DONE = """EXISTS (SELECT FROM jobs AS other WHERE other.content_key = jobs.content_key AND other.state = 'succeeded'
                      AND (NOT jobs.is_redo OR other.batch_id = jobs.batch_id))"""
# Sent again it may be a second charge: nobody knows whether its own call arrived. Of two in one batch the first goes.
_MAY_COME = f"""(EXISTS (SELECT FROM jobs AS other WHERE content_key = jobs.content_key AND {IS_BUSY})
                 OR EXISTS (SELECT FROM jobs AS other WHERE content_key = jobs.content_key AND {IS_UNCLEAR}
                            AND coalesce(batch_id = jobs.batch_id AND id < jobs.id, false)))"""
# Whatever is free is tried before anything is paid again. By how rows end: `cost_usd` is set wherever a charge cannot
# be ruled out, `poll_url` once Phota has accepted.
_FATE = f"""
    CASE WHEN output = '' THEN '{Fate.REFUSED}'
         WHEN {_IS_DONE} THEN '{Fate.FRESH}'
         WHEN requested_at IS NULL OR cost_usd IS NULL THEN '{Fate.FRESH}'
         WHEN :pay_again AND {_WAS_COLLECTED} THEN '{Fate.FRESH}'
         WHEN poll_url IS NOT NULL THEN '{Fate.COLLECT}'
         WHEN requested_at > now() - make_interval(secs => :known_for) AND NOT {_MAY_COME} THEN '{Fate.RESEND}'
         WHEN :pay_again THEN '{Fate.FRESH}'
         ELSE '{Fate.STUCK}' END
"""
_FAILED = "batch_id = :id AND state IN ('failed', 'rejected', 'expired') AND superseded_at IS NULL"
_WANTED = f"{_FAILED} AND CASE WHEN CAST(:code AS text) IS NULL THEN state <> 'rejected' ELSE error_code = :code END"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which failed jobs of a batch: those of one error code, or (None) all but the rejected ones.

    `known_for_s`: how long after the first call its `client_request_id` may be sent again.
    """

    code: str | None
    pay_again: bool
    known_for_s: float

    def bound(self, batch_id: uuid.UUID) -> dict[str, object]:
        return {"id": batch_id, "code": self.code, "pay_again": self.pay_again, "known_for": self.known_for_s}


@dataclass(frozen=True, slots=True)
class Superseded:
    """A generation that has just been put aside, and what goes over to the next."""

    id: uuid.UUID
    fate: Fate
    idempotency_key: str | None


_LEFT = text(
    f"""
    SELECT fate, error_code, count(*) AS jobs FROM (SELECT error_code, {_FATE} AS fate FROM jobs WHERE {_WANTED}) AS job
    WHERE fate IN ('{Fate.STUCK}', '{Fate.REFUSED}') GROUP BY fate, error_code ORDER BY count(*) DESC, error_code
    """
)


def count_left(connection: Connection, batch_id: uuid.UUID, choice: Choice) -> list[tuple[Fate, str, int]]:
    """Those that no next generation can be made of: why, error code, how many."""
    rows = connection.execute(_LEFT, choice.bound(batch_id))
    return [(Fate(row.fate), row.error_code or "unknown", row.jobs) for row in rows]


# A charge that the next generation goes on with moves there: it must not count twice. `superseded_at IS NULL` is looked
# at again once the row is locked, so a job never gets two next generations.
_SUPERSEDE = text(
    f"""
    WITH picked AS (
        SELECT id, idempotency_key, {_FATE} AS fate FROM jobs
        WHERE {_WANTED} AND id > :after AND {_FATE} NOT IN ('{Fate.STUCK}', '{Fate.REFUSED}')
        ORDER BY id LIMIT :bite FOR UPDATE
    )
    UPDATE jobs SET superseded_at = now(), idempotency_key = NULL,
           cost_usd = CASE WHEN picked.fate = '{Fate.FRESH}' THEN jobs.cost_usd END
    FROM picked WHERE jobs.id = picked.id
    RETURNING jobs.id, picked.fate, picked.idempotency_key
    """
)


def supersede(
    connection: Connection, batch_id: uuid.UUID, choice: Choice, *, after: uuid.UUID, bite: int = _BITE
) -> list[Superseded]:
    """Put aside the next `bite` of them behind the id `after`; an empty list: that was all."""
    rows = connection.execute(_SUPERSEDE, {**choice.bound(batch_id), "after": after, "bite": bite})
    return [Superseded(row.id, Fate(row.fate), row.idempotency_key) for row in rows]


_INSERT = text(
    f"""
    INSERT INTO jobs (id, account_id, batch_id, custom_id, idempotency_key, operation, params, output, source,
                      content_key, is_redo, is_paid_again, admitted_at, priority, webhook_url, metadata, estimate_usd,
                      generation, retry_of, state, client_request_id, requested_at, accepted_at, remote_job_id,
                      poll_url, due_at)
    SELECT next.id, old.account_id, old.batch_id, old.custom_id, next.idempotency_key, old.operation, old.params,
           old.output, old.source, old.content_key, old.is_redo, :pay_again AND next.fate = '{Fate.FRESH}',
           CASE WHEN next.fate <> '{Fate.FRESH}' THEN old.admitted_at END,
           old.priority, old.webhook_url, old.metadata, old.estimate_usd, old.generation + 1,
           old.id, CASE next.fate WHEN '{Fate.FRESH}' THEN 'queued' WHEN '{Fate.COLLECT}' THEN 'running'
                                  ELSE 'submitting' END,
           CASE WHEN next.fate = '{Fate.FRESH}' THEN replace(next.id::text, '-', '') ELSE old.client_request_id END,
           CASE WHEN next.fate <> '{Fate.FRESH}' THEN old.requested_at END,
           CASE WHEN next.fate = '{Fate.COLLECT}' THEN now() END,
           CASE WHEN next.fate = '{Fate.COLLECT}' THEN old.remote_job_id END,
           CASE WHEN next.fate = '{Fate.COLLECT}' THEN old.poll_url END,
           now() + make_interval(secs => CASE WHEN next.fate = '{Fate.FRESH}' THEN 0
                                              ELSE row_number() OVER (PARTITION BY next.fate) / {_A_SECOND} END)
    FROM jsonb_to_recordset(:generations) AS next (id uuid, old_id uuid, fate text, idempotency_key text)
    JOIN jobs AS old ON old.id = next.old_id
    """
).bindparams(bindparam("generations", type_=JSONB))


def insert_generations(
    connection: Connection, generations: Sequence[tuple[uuid.UUID, Superseded]], *, pay_again: bool = False
) -> None:
    """The next generation of each, under the new id beside it. `pay_again`: as the choice said that put them aside."""
    rows = [
        {"id": str(new_id), "old_id": str(old.id), "fate": old.fate, "idempotency_key": old.idempotency_key}
        for new_id, old in generations
    ]
    connection.execute(_INSERT, {"generations": rows, "pay_again": pay_again})


_REOPEN = text(
    """
    UPDATE batches SET outcome = NULL, finished_at = NULL, deadline = CASE WHEN deadline > now() THEN deadline END,
           forgiven_ended = progress.succeeded + progress.failed + progress.rejected,
           forgiven_failed = progress.failed + progress.rejected
    FROM batch_progress AS progress WHERE batches.id = :id AND progress.batch_id = batches.id
    """
)


def reopen(connection: Connection, batch_id: uuid.UUID) -> None:
    """A batch that had ended runs again, and ends anew; no job can join it. Its failures are judged anew from here on.

    A deadline that has passed holds no more: whoever retries after it means it.
    """
    connection.execute(_REOPEN, {"id": batch_id})


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Jobs that failed for the same reason; `message` is the commonest of theirs."""

    code: str
    count: int
    message: str


_GROUPS = text(
    f"""
    SELECT coalesce(error_code, 'unknown') AS code, count(*) AS count,
           coalesce(mode() WITHIN GROUP (ORDER BY error_message), '') AS message
    FROM jobs WHERE {_FAILED} GROUP BY 1 ORDER BY count(*) DESC, 1
    """
)


def failure_groups(connection: Connection, batch_id: uuid.UUID) -> list[FailureGroup]:
    """Failed, rejected and expired jobs of a batch by error code, the commonest first."""
    return [FailureGroup(**row) for row in connection.execute(_GROUPS, {"id": batch_id}).mappings()]
