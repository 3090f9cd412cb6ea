"""The machine itself is wrong: its clock, its disk, its memory."""

import contextlib
import os
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

from chaos.campaign import Run, row
from chaos.steps import watched
from chaos.world import World, wait_for

_HOUR = 3_600
_SHIM = Path(__file__).parents[1] / "shim.c"
_FULL = "disk-is-full"


def build_shim(folder: Path) -> Path:
    """The library of chaos/shim.c, compiled. Raise CalledProcessError without a C compiler."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "shim.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(_SHIM), "-ldl"], check=True)
    return library


@row("13a", "clocks of one worker and one dispatcher an hour off, then of all workers", short=(200, 2), long=(2_000, 8))
def clocks(run: Run) -> None:
    """S3 refuses what is signed at another time: the worker whose clock is right does the work, or all of it waits."""
    world = run.world
    shim = str(build_shim(world.folder / "shim"))
    for number in range(run.size.rounds):
        ahead_s = _HOUR if number % 2 else -_HOUR
        wrong = [_replace(run, kind, shim, ahead_s) for kind in ("worker", "dispatcher")]
        run.load.add(run.size.jobs // run.size.rounds)
        run.load.drain(within_s=120)  # with the clocks as wrong as they are
        if left := world.unfinished():
            raise AssertionError(f"{left} jobs wait though one clock is right")
        for name in wrong:
            world.terminate(name)
        world.keep_up()
    for _ in world.alive("worker"):
        _replace(run, "worker", shim, _HOUR)
    run.load.add(50)
    run.pause(4, 8)
    for name in world.alive("worker"):
        world.terminate(name)
    world.keep_up()
    run.recover()


def _replace(run: Run, kind: str, shim: str, ahead_s: int) -> str:
    """The oldest of its kind by one whose clock is so many seconds ahead; its name."""
    run.world.terminate(run.world.alive(kind)[0])
    run.inject(f"{kind} an hour off")
    return run.world.start(kind, LD_PRELOAD=shim, CHAOS_CLOCK_S=str(ahead_s))


def _on_a_small_disk(folder: Path) -> dict[str, Any]:
    shim = build_shim(folder / "shim")
    return {"service_environment": {"LD_PRELOAD": str(shim), "CHAOS_DISK_FULL": str(folder / _FULL)}}


@row("13b", "disk of Postgres and Redis full", short=(300, 2), long=(1_500, 10), world=_on_a_small_disk)
def full_disk(run: Run) -> None:
    """Files that are there can be written, none can grow."""
    sign = run.world.folder / _FULL
    for _ in range(run.size.rounds):
        run.load.add(run.size.jobs // run.size.rounds)
        run.pause(0.5, 1.5)
        sign.touch()
        run.inject("disk full")
        run.pause(4, 8)
        sign.unlink()
        run.world.wait_for_service("postgres")
        run.world.wait_for_service("valkey")
        run.recover()


_POISON = ("3", "33", "63", "93")  # custom_ids, so some of each batch, in messages with others
_TELL = f"""
    CREATE FUNCTION chaos_poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_notify('chaos_poison', current_setting('chaos.process', true));
        RETURN NULL;
    END $$;
    CREATE TRIGGER chaos_poison AFTER UPDATE ON jobs FOR EACH ROW
        WHEN (NEW.version > OLD.version AND NEW.hold = 'held' AND NEW.custom_id IN {_POISON})
        EXECUTE FUNCTION chaos_poison();
"""
_UNFINISHED = f"SELECT count(*) FROM jobs WHERE finished_at IS NULL AND custom_id IN {_POISON}"
_OF_THE_ROW = "FROM jobs JOIN batches ON batches.id = batch_id WHERE name LIKE :prefix AND error_code = 'worker_lost'"


@row("13c", "poison: who takes one of these jobs dies", short=(100, 1), long=(1_500, 3))
def poison(run: Run) -> None:
    """By SIGSEGV or as if memory had run out, once the claim is committed; five such claims, and the job has failed."""
    world, prefix = run.world, f"{run.load.prefix}%"
    run.allows_review = True  # some have called by then
    with watched(run) as steps, _takers_of_poison(world) as takers:
        for _ in range(run.size.rounds):
            run.load.add(run.size.jobs // run.size.rounds)
            while world.ask(_UNFINISHED):
                for notice in takers.notifies(timeout=0.5, stop_after=1):
                    if notice.payload in world.alive("worker"):
                        os.kill(world.child(notice.payload).pid, run.chance.choice((signal.SIGSEGV, signal.SIGKILL)))
                        wait_for(lambda name=notice.payload: not world.child(name).is_alive)  # type: ignore[misc]
                        steps.orphan(notice.payload)
                        run.inject("worker killed by a job")
                if not run.is_long:
                    steps.expire()
                world.keep_up()
        run.recover()
    failed = int(world.ask(f"SELECT count(*) {_OF_THE_ROW}", prefix=prefix))
    others = int(world.ask(f"SELECT count(*) {_OF_THE_ROW} AND custom_id NOT IN {_POISON}", prefix=prefix))
    if others or not failed:
        raise AssertionError(f"{others} jobs that killed nobody failed with those {failed} that did")
    run.may_end("failed worker_lost", failed)
    run.notes.append(f"{failed} poison jobs failed, and no other")


@contextlib.contextmanager
def _takers_of_poison(world: World) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection that is told the name of each process that claims such a job."""
    url = make_url(world.services["PHOTABATCH_DATABASE_URL"]).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as listener:
        listener.execute("LISTEN chaos_poison")
        listener.execute(_TELL)
        try:
            yield listener
        finally:
            listener.execute("DROP TRIGGER chaos_poison ON jobs; DROP FUNCTION chaos_poison")
