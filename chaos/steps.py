"""Who claimed and who moved each job, by the name of its process: a log of our own, kept by a trigger in Postgres.

It shows whether a write of somebody got through who had lost the job, and how long a job waited in dead hands.
"""

import contextlib
import math
import statistics
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from chaos.campaign import Run
from chaos.world import World, wait_for

_WATCH = """
    CREATE TABLE chaos_steps (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job_id uuid, version int, kind text,
                              was text, by text, at timestamptz DEFAULT clock_timestamp());
    CREATE INDEX ON chaos_steps (job_id, version);
    CREATE TABLE chaos_orphans (job_id uuid, version int, by text, at timestamptz DEFAULT clock_timestamp());
    CREATE FUNCTION chaos_step() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos_steps (job_id, version, kind, was, by)
        VALUES (NEW.id, NEW.version, CASE WHEN NEW.version > OLD.version THEN 'claim'
                                          WHEN NEW.hold = 'sent' THEN 'sent' ELSE 'move' END,
                OLD.hold, current_setting('chaos.process', true));
        RETURN NULL;
    END $$;
    CREATE TRIGGER chaos_step AFTER UPDATE ON jobs FOR EACH ROW
        WHEN (OLD.version <> NEW.version OR OLD.hold <> NEW.hold OR OLD.state <> NEW.state)
        EXECUTE FUNCTION chaos_step();
"""
_UNWATCH = """
    DROP TRIGGER chaos_step ON jobs; DROP FUNCTION chaos_step; DROP TABLE chaos_steps; DROP TABLE chaos_orphans
"""
_IN_HAND = """
    SELECT job.id, job.version, step.by FROM jobs AS job
    JOIN chaos_steps AS step ON step.job_id = job.id AND step.version = job.version AND step.kind = 'claim'
    WHERE job.hold = 'held' AND step.by = :name
"""
_ORPHANED = f"INSERT INTO chaos_orphans (job_id, version, by) {_IN_HAND}"
_EXPIRE = """
    UPDATE jobs SET due_at = now() FROM chaos_orphans AS orphan
    WHERE jobs.id = orphan.job_id AND jobs.version = orphan.version AND jobs.hold = 'held'
"""
_EXPIRE_OTHERS = "UPDATE {table} SET due_at = now() WHERE hold <> 'idle'"  # in hand, or in a message that may be lost
_OTHERS = ("webhook_endpoints", "schedule_runs", "triggers")
_WAITS = """
    SELECT extract(epoch FROM min(step.at) - orphan.at)::float8 FROM chaos_orphans AS orphan
    JOIN chaos_steps AS step ON step.job_id = orphan.job_id AND step.at > orphan.at AND (step.kind = 'sent') = :is_sent
    GROUP BY orphan.job_id, orphan.version, orphan.at
"""
_LEFT = """
    SELECT count(*) FROM chaos_orphans AS orphan JOIN jobs AS job ON job.id = orphan.job_id
    WHERE job.version = orphan.version AND job.hold = 'held'
"""
_TRESPASSES = """
    SELECT count(*) FROM chaos_steps AS move
    JOIN chaos_steps AS claim ON claim.job_id = move.job_id AND claim.version = move.version AND claim.kind = 'claim'
    WHERE move.kind = 'move' AND move.by LIKE 'worker-%' AND move.by <> claim.by
"""
# Whoever moves a job has it in hand, whether or not its claim was seen. What a worker takes in is no move, but new.
_UNHELD = "SELECT count(*) FROM chaos_steps WHERE kind = 'move' AND by LIKE 'worker-%' AND was <> 'held'"
_CLAIMED_TOO_OFTEN = """
    SELECT count(*) FROM (
        SELECT FROM chaos_steps GROUP BY job_id
        HAVING count(*) FILTER (WHERE kind = 'claim') > count(*) FILTER (WHERE kind = 'sent')) AS job
"""
# Sums leave room for one such claim for each message that was lost.
_CLAIMED_TWICE = """
    SELECT count(*) FROM (
        SELECT kind, lag(kind) OVER (PARTITION BY job_id ORDER BY id) AS before FROM chaos_steps
        WHERE kind IN ('sent', 'claim')) AS step
    WHERE kind = 'claim' AND before = 'claim'
"""


@dataclass(frozen=True, slots=True)
class Steps:
    """Of the jobs that took any since `watched` began."""

    world: World

    def kill(self, name: str) -> None:
        """SIGKILL to a worker, and remember what was in its hands."""
        self.world.kill(name)
        self.orphan(name)

    def orphan(self, name: str) -> int:
        """Remember what is in the hands of a worker that is dead, cut off or frozen; how many jobs."""
        with self.world.engine.begin() as connection:
            return connection.execute(text(_ORPHANED), {"name": name}).rowcount

    def in_hand(self, name: str) -> int:
        return int(self.world.ask(f"SELECT count(*) FROM ({_IN_HAND}) AS held", name=name))

    def expire(self) -> None:
        """As if the time were over of all that was orphaned, and of each endpoint, schedule and trigger that is out."""
        with self.world.engine.begin() as connection:
            connection.execute(text(_EXPIRE))
        self.expire_others()

    def expire_others(self) -> None:
        """The same, without the jobs: theirs is the lease that is measured."""
        with self.world.engine.begin() as connection:
            for table in _OTHERS:
                connection.execute(text(_EXPIRE_OTHERS.format(table=table)))

    def wait_until_taken(self, *, at_most_s: float = 60.0) -> None:
        """Until none of what was orphaned is in the same hands."""
        wait_for(lambda: not self.world.ask(_LEFT), at_most_s=at_most_s)

    def last(self) -> int:
        """Number of the last step."""
        return int(self.world.ask("SELECT coalesce(max(id), 0) FROM chaos_steps"))

    def by(self, name: str, *, after: int = 0, kind: str = "move") -> int:
        """How many steps of that kind a process made after the step of that number."""
        statement = "SELECT count(*) FROM chaos_steps WHERE by = :name AND id > :after AND kind = :kind"
        return int(self.world.ask(statement, name=name, after=after, kind=kind))

    def sender(self) -> str:
        """The dispatcher that sent last."""
        return str(self.world.ask("SELECT by FROM chaos_steps WHERE kind = 'sent' ORDER BY id DESC LIMIT 1"))

    def check(self) -> None:
        """Raise AssertionError if somebody wrote who had lost the job, or a message was worth more than one claim."""
        for what, statement in {
            "writes by who did not hold the job": _TRESPASSES,
            "moves of jobs that were in nobody's hands": _UNHELD,
            "jobs claimed more often than sent": _CLAIMED_TOO_OFTEN,
            "claims after a claim, with nothing sent between": _CLAIMED_TWICE,
        }.items():
            if count := int(self.world.ask(statement)):
                raise AssertionError(f"{count} {what}")

    def waits_s(self, *, is_sent: bool) -> list[float]:
        """How long each job that was orphaned waited until it was sent again, or until somebody took it; sorted."""
        with self.world.engine.connect() as connection:
            return sorted(connection.execute(text(_WAITS), {"is_sent": is_sent}).scalars())


@contextlib.contextmanager
def watched(run: Run) -> Iterator[Steps]:
    """Inside the block steps are logged; at its end the row is drained, and what was seen is judged and noted."""
    steps = Steps(run.world)
    _execute(run.world, _WATCH)
    try:
        yield steps
        run.world.keep_up()
        if not run.is_long:
            steps.expire()
        run.load.drain(within_s=run.drain_s)
        _note(run, steps)
        steps.check()
    finally:
        _execute(run.world, _UNWATCH)


def _note(run: Run, steps: Steps) -> None:
    """Who is to take a job may be killed before it does; the dispatcher has done its part when the job is sent."""
    if not (taken_s := steps.waits_s(is_sent=False)):
        return
    shortened = "" if run.is_long else ", where leases were cut short"
    sent, taken = _distribution(steps.waits_s(is_sent=True)), _distribution(taken_s)
    run.notes.append(
        f"{len(taken_s)} jobs were in hands that died or froze; sent again after {sent}, taken up again after {taken}"
        f"{shortened}"
    )


def _distribution(sorted_s: Sequence[float]) -> str:
    if not sorted_s:
        return "an unknown time"
    late_s = sorted_s[math.ceil(0.99 * len(sorted_s)) - 1]
    return f"{statistics.median(sorted_s):.1f} s (median), {late_s:.1f} s (99 %), {sorted_s[-1]:.1f} s (at most)"


def _execute(world: World, statements: str) -> None:
    with world.engine.begin() as connection:
        connection.exec_driver_sql(statements)


def unfinished(run: Run, *, limit: int = 64) -> list[uuid.UUID]:
    """Ids of jobs of the row that are under way."""
    statement = text(
        "SELECT job.id FROM jobs AS job JOIN batches AS batch ON batch.id = job.batch_id "
        "WHERE batch.name LIKE :prefix AND job.finished_at IS NULL ORDER BY job.due_at LIMIT :limit"
    )
    values: dict[str, Any] = {"prefix": f"{run.load.prefix}%", "limit": limit}
    with run.world.engine.connect() as connection:
        return list(connection.execute(statement, values).scalars())
