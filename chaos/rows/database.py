"""Postgres is killed, stopped, cut off, used up or loses commits; sessions are ended; the leader loses its lock."""

import contextlib
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
from sqlalchemy import make_url, text

from chaos import watch
from chaos.campaign import Run, row
from chaos.proxy import Commits, Mode
from chaos.world import World, wait_for

# A worker's sessions have its id after that name; the campaign's own have another one.
_SESSIONS = "pg_stat_activity WHERE starts_with(application_name, 'photabatch') AND backend_type = 'client backend'"
_SOME = f"SELECT pid FROM {_SESSIONS} ORDER BY random() LIMIT :count"
_END = f"SELECT count(*) FROM ({_SOME}) AS chosen WHERE pg_terminate_backend(pid)"
_BUSY = f"SELECT pid FROM {_SESSIONS} AND state = 'active' ORDER BY random() LIMIT :count"
_CANCEL = f"SELECT count(*) FROM ({_BUSY}) AS busy WHERE pg_cancel_backend(pid)"
_BROKEN_OFF = "canceling statement due to user request"  # what Postgres logs of it
_ENOUGH = 60  # jobs at hand, so that statements run


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
        jobs = run.size.jobs // run.size.rounds
        run.load.add(jobs - jobs // 2)
        run.pause(0.3, 1.0)
        with _all_connections_taken(run.world) as taken:
            run.load.add(jobs // 2)  # by a connection that the campaign has already; nobody can do them meanwhile
            run.pause(15.0, 15.0) if run.size.rounds > 1 else run.pause(6.0, 6.0)
            if not _is_refused(run.world):
                raise AssertionError("photabatch got a connection though all were taken")
        run.inject("all connections taken")
        run.notes.append(f"{len(taken)} taken, none left for photabatch: refused before and after the pause")
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
    """Statements that run, and sessions whatever they do. Some end before they are told to stop: those do not count."""
    watch.warm_up(run)
    run.load.add(run.size.jobs)
    told, before = 0, _broken_off(run.world)
    for number in range(run.size.rounds):
        if run.world.unfinished() < _ENOUGH:
            run.load.add(_ENOUGH)
        if run.chance.random() < 1 / 3:
            run.inject("session ended", run.world.ask(_END, count=run.chance.randint(1, 4)))
        else:
            told += _cancel(run.world, at_most=run.chance.randint(1, 4))
        run.pause(0.01, 0.2)
        if number % 50 == 49:
            _rest(run)
    _rest(run)
    run.inject("statement cancelled", min(told, _broken_off(run.world) - before))
    run.notes.append(f"{told} running statements were told to stop")


def _rest(run: Run) -> None:
    run.load.add(_ENOUGH // 2)
    run.recover()
    _count_ended(run)


@row("6i", "the leader loses its lock", short=(200, 6), long=(2000, 60))
def deposed(run: Run) -> None:
    """Its session is ended, its connection reset or itself frozen beyond its session; one leads whatever happens."""
    watch.warm_up(run)
    world, waits_s = run.world, list[float]()
    with watch.watched_leading(world):
        for number in range(run.size.rounds):
            run.load.add(run.size.jobs // run.size.rounds)
            run.pause(0.1, 1.0)
            waits_s.append(_depose(run, "frozen" if number % 10 == 5 else "reset" if number % 2 else "ended"))
            _count_ended(run)
        run.load.drain(within_s=run.drain_s)
        leaders, strangers = watch.who_admitted(world)
    run.notes.append(f"another led after {statistics.median(waits_s):.1f} s (median), {max(waits_s):.1f} s at most")
    run.notes.append(f"{leaders} sessions admitted, {strangers} admissions without the lock")
    if strangers or not leaders:
        raise AssertionError(run.notes[-1])


def _depose(run: Run, way: str) -> float:
    """Until it has lost the lock; from then on: seconds until another leads, and, as recovery, until a job ends too."""
    world = run.world
    was, process = watch.wait_for_leader(world)
    with watch.frozen(world, *([process] if way == "frozen" else [])):
        if way == "reset":
            world.wires.postgres.cut()
        elif way == "ended":
            world.ask("SELECT pg_terminate_backend(:pid)", pid=was)
        wait_for(lambda: watch.leader(world) != was, at_most_s=60)  # a frozen one: after the 15 s of its session
        began = time.monotonic()
        run.inject(f"leader {way}")
        run.load.add(5)
        wait_for(lambda: watch.leader(world) not in (None, was), at_most_s=60)
        waited_s = time.monotonic() - began
        if world.wait_for_progress() is not None:
            run.recoveries_s.append(time.monotonic() - began)
        return waited_s


# -- what is done to Postgres


def _end_smartly(world: World) -> None:
    """SIGTERM waits for its clients, which never leave, and lets nobody in; so an operator shuts it down fast then."""
    os.kill(world.child("postgres").pid, signal.SIGTERM)
    time.sleep(1.5)
    world.restart_service("postgres", signal.SIGINT)


def _kill_backend(run: Run) -> None:
    """SIGKILL to a session, after which Postgres throws all of them out and recovers."""
    wait_for(lambda: run.world.ask(f"SELECT count(*) FROM {_SESSIONS}"))
    os.kill(run.world.ask(_SOME, count=1), signal.SIGKILL)
    time.sleep(0.2)


def _cancel(world: World, *, at_most: int) -> int:
    """Tell statements that run in this moment to stop; how many. They last milliseconds, so it is looked for them."""
    with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for _ in range(500):  # a second or two
            if told := connection.scalar(text(_CANCEL), {"count": at_most}):
                return int(told)
            time.sleep(0.001)
    return 0


def _broken_off(world: World) -> int:
    return world.child("postgres").log.read_text(errors="replace").count(_BROKEN_OFF)


@contextlib.contextmanager
def _all_connections_taken(world: World) -> Iterator[list[psycopg.Connection]]:
    """Whoever needs a connection inside the block gets none; those of photabatch are reset until it has none."""
    url = _url(world)
    taken: list[psycopg.Connection] = []
    is_over = threading.Event()

    def take() -> None:
        while not is_over.is_set():
            try:
                taken.append(psycopg.connect(url, connect_timeout=3))
            except psycopg.OperationalError:
                is_over.wait(0.02)

    def cut_off() -> bool:
        world.wires.postgres.cut()
        time.sleep(0.5)  # their room is taken then, by us or by photabatch again
        return _is_refused(world)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_for(cut_off, at_most_s=60)
        yield taken
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
        for connection in taken:
            connection.close()


def _is_refused(world: World) -> bool:
    """Whether photabatch has no session, and gets none, by its own way and name, because too many are there."""
    if world.ask(f"SELECT count(*) FROM {_SESSIONS}"):
        return False
    try:
        psycopg.connect(_url(world, port=world.wires.postgres.port), connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return "too many clients" in str(error)
    return False


def _url(world: World, *, port: int | None = None) -> str:
    url = make_url(world.services["PHOTABATCH_DATABASE_URL"]).set(drivername="postgresql")
    return (url.set(port=port) if port else url).render_as_string(hide_password=False)


def _count_ended(run: Run) -> None:
    """Processes that did not survive, and were started again."""
    if ended := run.world.keep_up():
        run.do("process ended by it", ended)
