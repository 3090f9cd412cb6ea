"""What rows measure beside the next ended job: claims, messages sent again, whether each worker works, who leads."""

import base64
import contextlib
import json
import time
import uuid
from collections.abc import Iterator, Sequence

from sqlalchemy import text

from chaos.campaign import Run
from chaos.world import World, wait_for
from models.dispatch import LEADER_LOCK
from models.states import Stage

_JOB_QUEUES = (Stage.SUBMIT, Stage.POLL, Stage.STORE)
_CLAIMS = """
    SELECT coalesce(sum(job.version), 0) FROM jobs AS job JOIN batches AS batch ON batch.id = job.batch_id
    WHERE batch.name LIKE :prefix
"""


def claims(run: Run) -> int:
    """How often jobs of this row were claimed so far."""
    return int(run.world.ask(_CLAIMS, prefix=f"{run.load.prefix}%"))


def warm_up(run: Run) -> None:
    """Until the fleet works: processes that still start would be taken for a fault."""
    if not run.world.ended():
        run.load.add(4)
        run.world.wait_for_progress()


def note_consuming(run: Run, *, at_most_s: float = 120.0) -> None:
    """The fault has ended: seconds until a worker claims the next job, noted unless nothing was left to do."""
    began, before = time.monotonic(), claims(run)

    def is_done() -> bool:
        if ended := run.world.keep_up():  # as whatever runs a worker does
            run.do("process ended by it", ended)
        return claims(run) > before or not run.world.unfinished()

    wait_for(is_done, every_s=0.05, at_most_s=at_most_s)
    took_s = time.monotonic() - began
    if claims(run) > before:
        run.recoveries_s.append(took_s)


@contextlib.contextmanager
def frozen(world: World, *names: str) -> Iterator[None]:
    """These processes are stopped inside the block."""
    for name in names:
        world.freeze(name)
    try:
        yield
    finally:
        for name in names:
            world.thaw(name)


def see_each_consume(run: Run, *, jobs: int = 60, at_most_s: float = 60.0) -> None:
    """Every worker takes work while the others are frozen. Raise TimeoutError for one that lives and takes nothing."""
    workers = run.world.alive("worker")
    for name in workers:
        run.load.drain()  # or what the others hold would fill all slots
        with frozen(run.world, *(other for other in workers if other != name)):
            before = claims(run)
            run.load.add(jobs)  # in several messages: a frozen one still has one of them put into its connection
            try:
                wait_for(lambda before=before: claims(run) > before, at_most_s=at_most_s)  # type: ignore[misc]
            except TimeoutError:
                raise TimeoutError(f"{name} lives and takes nothing") from None


_DROPPED = "moved on without this worker"


def refusals(world: World, name: str) -> int:
    """How many writes of this worker were refused so far, as it says itself: somebody else had the job."""
    return world.child(name).log.read_text(errors="replace").count(_DROPPED)


# -- messages


def let_wait(world: World, *, at_most_s: float = 3.0) -> None:
    """Until a job's message waits in a queue, if one comes."""
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: any(world.redis.llen(queue.value) for queue in _JOB_QUEUES), at_most_s=at_most_s)
    time.sleep(0.3)


def flush(world: World) -> list[uuid.UUID]:
    """FLUSHALL; the ids of the jobs whose messages waited in a queue and are gone."""
    with world.redis.pipeline(transaction=True) as pipe:
        for queue in _JOB_QUEUES:
            pipe.lrange(queue.value, 0, -1)
        pipe.flushall()
        *queues, _ = pipe.execute()
    return [uuid.UUID(job_id) for messages in queues for message in messages for job_id in _ids_of(message)]


def _ids_of(message: bytes) -> Sequence[str]:
    """Of a chunk as Celery writes it: the first argument."""
    arguments, *_ = json.loads(base64.b64decode(json.loads(message)["body"]))
    ids: list[str] = arguments[0]
    return ids


_SENT = "SELECT id, due_at FROM jobs WHERE id = ANY(:ids) AND hold = 'sent'"
_STILL_SENT = """
    SELECT count(*) FROM jobs JOIN unnest(CAST(:ids AS uuid[]), CAST(:moments AS timestamptz[])) AS lost (id, due_at)
        ON jobs.id = lost.id WHERE jobs.hold = 'sent' AND jobs.due_at = lost.due_at
"""


def note_sent_again(run: Run, lost: Sequence[uuid.UUID], *, since: float, at_most_s: float = 90.0) -> None:
    """Seconds from `since` (monotonic) until the last of these was sent again, or taken after all; for the report.

    Nothing is noted if none of them still has to be.
    """
    with run.world.engine.connect() as connection:
        rows = connection.execute(text(_SENT), {"ids": list(lost)}).all()
    if not rows:
        return
    values = {"ids": [row.id for row in rows], "moments": [row.due_at for row in rows]}
    wait_for(lambda: not run.world.ask(_STILL_SENT, **values), every_s=0.02, at_most_s=at_most_s)
    run.recoveries_s.append(time.monotonic() - since)


# -- who leads

_LEADER = """
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND (classid::bigint << 32) + objid::bigint = :lock
"""
_WATCH_LEADER = f"""
    CREATE TABLE chaos_strangers (pid int, at timestamptz DEFAULT clock_timestamp());
    CREATE TABLE chaos_leaders (pid int UNIQUE, process text);
    CREATE FUNCTION chaos_admitted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos_leaders AS known VALUES (pg_backend_pid(), current_setting('chaos.process', true))
            ON CONFLICT (pid) DO UPDATE SET process = excluded.process WHERE known.process <> excluded.process;
        IF NOT EXISTS ({_LEADER.replace(":lock", str(LEADER_LOCK))} AND pid = pg_backend_pid()) THEN
            INSERT INTO chaos_strangers (pid) VALUES (pg_backend_pid());
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER chaos_admitted AFTER UPDATE OF state ON jobs FOR EACH ROW
        WHEN (OLD.state = 'queued' AND NEW.state = 'submitting') EXECUTE FUNCTION chaos_admitted();
"""
_UNWATCH_LEADER = """
    DROP TRIGGER chaos_admitted ON jobs; DROP FUNCTION chaos_admitted;
    DROP TABLE chaos_strangers; DROP TABLE chaos_leaders
"""


def leader(world: World) -> int | None:
    """The backend that holds the leader's lock; None: nobody leads."""
    pid: int | None = world.ask(_LEADER, lock=LEADER_LOCK)
    return pid


@contextlib.contextmanager
def watched_leading(world: World) -> Iterator[None]:
    """A trigger sees who admits inside the block."""
    _execute(world, _WATCH_LEADER)
    try:
        yield
    finally:
        _execute(world, _UNWATCH_LEADER)


def leading(world: World) -> tuple[int, str] | None:
    """Inside `watched_leading`: the leader's backend and the name of its process; None: nobody who has admitted yet."""
    found = world.ask(f"SELECT ARRAY[pid::text, process] FROM chaos_leaders WHERE pid IN ({_LEADER})", lock=LEADER_LOCK)
    return None if found is None else (int(found[0]), found[1])


def wait_for_leader(world: World, *, at_most_s: float = 60.0) -> tuple[int, str]:
    """The same, once somebody leads. Raise TimeoutError."""
    found: list[tuple[int, str]] = []

    def look() -> bool:
        found.extend(filter(None, [leading(world)]))
        return bool(found)

    wait_for(look, at_most_s=at_most_s)
    return found[0]


def who_admitted(world: World) -> tuple[int, int]:
    """Inside `watched_leading`: sessions that admitted, and admissions by a session that did not hold the lock."""
    counts = world.ask("SELECT ARRAY[(SELECT count(*) FROM chaos_leaders), (SELECT count(*) FROM chaos_strangers)]")
    return int(counts[0]), int(counts[1])


def _execute(world: World, statements: str) -> None:
    with world.engine.begin() as connection:
        connection.exec_driver_sql(statements)
