"""Postgres is killed, stopped, cut off, used up or loses commits; sessions are ended; the leader loses its lock."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
from sqlalchemy import make_url, text

from chaos import watch
from chaos.campaign import Run, row
from chaos.proxy import Commits, Mode
from chaos.world import World, wait_for

_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'photabatch' ORDER BY random() LIMIT :count"


@row("6a", "Postgres killed or restarted", short=(200, 3), long=(3000, 50))
def killed(run: Run) -> None:
    watch.warm_up(run)
    world = run.world
    ends: dict[str, Callable[[], None]] = {
        "Postgres killed": lambda: world.kill_service("postgres"),
        "Postgres restarted, fast": lambda: world.restart_service("postgres", signal.SIGINT),
        "Postgres restarted, smart then fast": lambda: _end_smartly(world),
        "a session of Postgres killed": lambda: _kill_backend(run),
    }
    for number in range(run.size.rounds):
        run.load.add(run.size.jobs // run.size.rounds)
        run.pause(0.3, 1.5)
        what = list(ends)[number % len(ends)]
        ends[what]()
        run.inject(what)
        world.wait_for_service("postgres")
        run.recover()
        _count_ended(run)


@row("6b", "answers of COMMIT lost", smoke=(60, 1), short=(200, 2), long=(3000, 10))
def answers_lost(run: Run) -> None:
    _disturb_commits(run, Commits.LOSE_ANSWER)


@row("6c", "COMMITs lost", smoke=(60, 1), short=(200, 2), long=(3000, 10))
def commits_lost(run: Run) -> None:
    _disturb_commits(run, Commits.LOSE)


def _disturb_commits(run: Run, what: Commits) -> None:
    """One in five, of workers, dispatcher and API alike; batches posted over HTTP meanwhile retry with their key."""
    watch.warm_up(run)
    before = run.world.wires.postgres.lost_commits
    posted = 0
    run.world.wires.postgres.disturb_commits(what, rate=0.2)
    try:
        for number in range(run.size.rounds):
            run.load.add(run.size.jobs // run.size.rounds)
            for n in range(5):
                run.load.add_over_http(3, key=f"{run.load.prefix}{number}-{n}")
                posted += 1
            run.pause(1.0, 5.0)
            _count_ended(run)
    finally:
        run.world.wires.postgres.disturb_commits(None)
    run.inject("COMMIT", run.world.wires.postgres.lost_commits - before)
    run.recover()
    if (made := _batches_by_http(run)) != posted:
        raise AssertionError(f"{posted} batches were posted, {made} made")


def _batches_by_http(run: Run) -> int:
    names = f"{run.load.prefix}http-%"
    return int(run.world.ask("SELECT count(*) FROM batches WHERE name LIKE :names", names=names))


@row("6d", "Postgres behind a black hole", short=(150, 1), long=(1500, 4))
def swallowed(run: Run) -> None:
    watch.warm_up(run)
    for _ in range(run.size.rounds):
        run.load.add(run.size.jobs // run.size.rounds)
        run.pause(0.5, 1.5)
        run.world.wires.postgres.set(Mode.BLACK_HOLE)
        run.pause(20.0, 40.0) if run.size.rounds > 1 else run.pause(8.0, 12.0)
        run.world.wires.postgres.set(Mode.PASS)
        run.inject("black hole")
        run.recover()
        _count_ended(run)


@row("6e", "connections to Postgres reset at random", short=(200, 40), long=(2000, 600))
def reset(run: Run) -> None:
    watch.warm_up(run)
    run.load.add(run.size.jobs)
    for number in range(run.size.rounds):
        run.inject("connection reset", run.world.wires.postgres.cut())
        run.pause(0.02, 0.3)
        if number % 50 == 49:
            _count_ended(run)
    run.recover()
    _count_ended(run)


@row("6f", "connections of Postgres used up", short=(150, 1), long=(1500, 5))
def used_up(run: Run) -> None:
    watch.warm_up(run)
    for _ in range(run.size.rounds):
        run.load.add(run.size.jobs // run.size.rounds)
        run.pause(0.3, 1.0)
        with _all_connections_taken(run.world) as taken:
            run.pause(15.0, 15.0) if run.size.rounds > 1 else run.pause(6.0, 6.0)
        run.inject("all connections taken")
        run.notes.append(f"{len(taken)} taken")
        run.recover()
        _count_ended(run)


@row("6g", "Postgres stopped", short=(150, 1), long=(1500, 5))
def stopped(run: Run) -> None:
    watch.warm_up(run)
    for _ in range(run.size.rounds):
        run.load.add(run.size.jobs // run.size.rounds)
        run.pause(0.5, 1.5)
        run.world.freeze("postgres")
        try:
            run.pause(10.0, 20.0) if run.size.rounds > 1 else run.pause(6.0, 8.0)
        finally:
            run.world.thaw("postgres")
        run.inject("Postgres stopped")
        run.world.wait_for_service("postgres")
        run.recover()
        _count_ended(run)


@row("6h", "sessions ended and statements cancelled", short=(200, 60), long=(2000, 800))
def noise(run: Run) -> None:
    watch.warm_up(run)
    run.load.add(run.size.jobs)
    for number in range(run.size.rounds):
        verb = run.chance.choice(("pg_terminate_backend", "pg_cancel_backend", "pg_cancel_backend"))
        run.inject(verb, _end_backends(run, verb, count=run.chance.randint(1, 4)))
        run.pause(0.01, 0.2)
        if number % 50 == 49:
            _count_ended(run)
    run.recover()
    _count_ended(run)


@row("6i", "the leader loses its lock", short=(200, 6), long=(2000, 60))
def deposed(run: Run) -> None:
    """Its session is ended, its connection reset or itself frozen beyond its session; one leads whatever happens."""
    watch.warm_up(run)
    world = run.world
    with watch.watched_leading(world):
        for number in range(run.size.rounds):
            run.load.add(run.size.jobs // run.size.rounds)
            run.pause(0.1, 1.0)
            _depose(run, "frozen" if number % 10 == 5 else "reset" if number % 2 else "ended")
            began = time.monotonic()
            wait_for(lambda: watch.leader(world), at_most_s=60)
            run.notes.append(f"led again after {time.monotonic() - began:.1f} s")
            run.recover()
            _count_ended(run)
        run.load.drain(within_s=run.drain_s)
        leaders, strangers = watch.who_admitted(world)
    run.notes.append(f"{leaders} sessions admitted, {strangers} admissions without the lock")
    if strangers or not leaders:
        raise AssertionError(run.notes[-1])


def _depose(run: Run, way: str) -> None:
    run.inject(f"leader {way}")
    if way == "frozen":
        with watch.frozen(run.world, *run.world.alive("dispatcher")[:1]):
            run.pause(17.0, 19.0)  # beyond the 15 s after which Postgres ends its session
    elif way == "reset":
        run.world.wires.postgres.cut()
    elif (pid := watch.leader(run.world)) is not None:
        with run.world.engine.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


# -- what is done to Postgres


def _end_smartly(world: World) -> None:
    """SIGTERM waits for its clients, which never leave, and lets nobody in; so an operator shuts it down fast then."""
    os.kill(world.child("postgres").pid, signal.SIGTERM)
    time.sleep(1.5)
    world.restart_service("postgres", signal.SIGINT)


def _kill_backend(run: Run) -> None:
    """SIGKILL to a session, after which Postgres throws all of them out and recovers."""
    for pid in _backends(run, count=1):
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)


def _backends(run: Run, *, count: int) -> list[int]:
    """Some of photabatch's, none of the campaign's own."""
    with run.world.engine.connect() as connection:
        return list(connection.execute(text(_BACKENDS), {"count": count}).scalars())


def _end_backends(run: Run, verb: str, *, count: int) -> int:
    pids = _backends(run, count=count)
    with run.world.engine.connect() as connection:
        for pid in pids:
            connection.execute(text(f"SELECT {verb}(:pid)"), {"pid": pid})
    return len(pids)


@contextlib.contextmanager
def _all_connections_taken(world: World) -> Iterator[list[psycopg.Connection]]:
    """Whoever needs a connection inside the block gets none; those that were open are reset first."""
    url = make_url(world.services["PHOTABATCH_DATABASE_URL"]).set(drivername="postgresql")
    taken: list[psycopg.Connection] = []
    is_over = threading.Event()

    def take() -> None:
        while not is_over.is_set():
            try:
                taken.append(psycopg.connect(url.render_as_string(hide_password=False), connect_timeout=3))
            except psycopg.OperationalError:
                is_over.wait(0.02)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    world.wires.postgres.cut()
    try:
        yield taken
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
        for connection in taken:
            connection.close()


def _count_ended(run: Run) -> None:
    """Processes that did not survive, and were started again."""
    if ended := run.world.keep_up():
        run.do("process ended by it", ended)
