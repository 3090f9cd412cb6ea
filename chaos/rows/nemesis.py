"""Everything at once: a seeded random mix of all faults, over a load that never ends before they do."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

import redis
from kombu.exceptions import OperationalError as BrokerError

from chaos import watch
from chaos.campaign import Run, row
from chaos.proxy import Commits, Mode, Proxy
from chaos.world import wait_for
from models.claims import LEASE_S

Fault = Callable[[Run], AbstractContextManager[bool | None]]
"""What it gives: whether it struck; None: yes."""

_FAULTS: dict[str, tuple[int, Fault]] = {}  # with how often it is chosen, relatively
_BEYOND = {  # one freeze in four of the long size
    "worker frozen": "worker frozen beyond its lease",
    "dispatcher frozen": "dispatcher frozen beyond its session",
}
_SESSION_S = 15.0  # a dispatcher that is silent for so long loses it
_PHOTA = ("429", "500", "502", "503", "504", "reset", "reset_after", "truncate", "bad_json", "html", "wrong_length")
_DOWNLOADS = ("500", "reset", "truncate", "wrong_length", "not_an_image", "expired", "slow")


@row("17", "everything at once, seeded", smoke=(300, 6), short=(1_500, 20), long=(20_000, 200))
def nemesis(run: Run) -> None:
    """One to three faults at a time for 1 to 6 s, then recovery; the backlog is filled up as it drains.

    In the long size some processes stay frozen after the other faults, until others have their work.
    """
    most = max(200, min(1_500, run.size.jobs // 3))
    with watch.watched_leading(run.world):
        for left in range(run.size.rounds, 0, -1):
            _fill(run, most, left)
            _strike(run, _chosen(run), then=lambda left=left: _fill(run, most, left))  # type: ignore[misc]
            run.world.keep_up()
            run.recover()
        leaders, strangers = watch.who_admitted(run.world)
    run.notes.append(f"{leaders} sessions admitted, {strangers} admissions without the lock")
    if strangers:
        raise AssertionError(run.notes[-1])


def _chosen(run: Run) -> list[str]:
    """In an order in which none waits for a service that another one has frozen."""
    names = run.chance.choices(list(_FAULTS), weights=[weight for weight, _ in _FAULTS.values()], k=3)
    some = sorted(set(names[: run.chance.choice((1, 1, 2, 3))]))
    if run.is_long:
        some = [_BEYOND[name] if name in _BEYOND and run.chance.random() < 0.25 else name for name in some]
    return sorted(some, key=lambda name: 2 if name.endswith("frozen") else int(name in _BEYOND.values()))


def _strike(run: Run, names: list[str], *, then: Callable[[], None]) -> None:
    """`then`: once only those that last are left."""
    with ExitStack() as lasting:
        with ExitStack() as faults:
            for name in names:
                stack = lasting if name in _BEYOND.values() else faults
                if stack.enter_context(_FAULTS[name][1](run)) is not False:
                    run.inject(name)
            run.pause(1, 6)
        if any(name in _BEYOND.values() for name in names):
            run.world.keep_up()
            then()


def _fill(run: Run, most: int, rounds_left: int) -> None:
    """As many as are missing, but no more than what the remaining rounds need to spread."""
    missing = min(most - run.world.unfinished(), run.size.jobs - run.load.accepted)
    if missing > 0:
        run.load.add(max(1, min(missing, 3 * run.size.jobs // (2 * rounds_left) + 1)))


def fault(name: str, weight: int = 2) -> Callable[[Callable[[Run], Iterator[bool | None]]], Fault]:
    def register(work: Callable[[Run], Iterator[bool | None]]) -> Fault:
        made = contextmanager(work)
        _FAULTS[name] = (weight, made)
        return made

    return register


@fault("worker killed", 4)
def _kill_worker(run: Run) -> Iterator[None]:
    run.world.kill(_one_of(run, "worker"))
    yield


@fault("worker asked to stop", 3)
def _stop_worker(run: Run) -> Iterator[None]:
    run.world.terminate(_one_of(run, "worker"))
    yield


@fault("worker frozen")
def _freeze_worker(run: Run) -> Iterator[None]:
    name = _one_of(run, "worker")
    with watch.frozen(run.world, name):
        yield


@fault(_BEYOND["worker frozen"], 0)
def _freeze_worker_for_long(run: Run) -> Iterator[None]:
    """Then it may write what it can: a zombie."""
    name = _one_of(run, "worker")
    before = watch.refusals(run.world, name)
    yield from _freeze_for(run, name, run.chance.uniform(LEASE_S + 3, LEASE_S + 15))
    with suppress(TimeoutError):  # it may have had nothing in hand
        wait_for(lambda: watch.refusals(run.world, name) > before, at_most_s=5)
    run.do("worker that thawed was refused", int(watch.refusals(run.world, name) > before))


@fault("dispatcher killed")
def _kill_dispatcher(run: Run) -> Iterator[None]:
    run.world.kill(_one_of(run, "dispatcher"))
    yield


@fault("dispatcher frozen", 1)
def _freeze_dispatcher(run: Run) -> Iterator[None]:
    name = _one_of(run, "dispatcher")
    with watch.frozen(run.world, name):
        yield


@fault(_BEYOND["dispatcher frozen"], 0)
def _freeze_leader_for_long(run: Run) -> Iterator[None]:
    """The one that leads, if one does in this moment."""
    _, name = watch.leading(run.world) or (0, "")
    name = name if name in run.world.alive("dispatcher") else _one_of(run, "dispatcher")
    yield from _freeze_for(run, name, run.chance.uniform(_SESSION_S + 2, _SESSION_S + 10))


@fault("Redis flushed", 3)
def _flush(run: Run) -> Iterator[bool]:
    try:
        run.world.redis.flushall()
    except redis.RedisError:
        yield False
    else:
        yield True


@fault("Redis killed")
def _kill_redis(run: Run) -> Iterator[None]:
    run.world.kill_service("valkey")
    yield
    run.world.wait_for_service("valkey")


@fault("Redis frozen")
def _freeze_redis(run: Run) -> Iterator[None]:
    run.world.freeze("valkey")
    yield
    run.world.thaw("valkey")


@fault("Postgres killed")
def _kill_postgres(run: Run) -> Iterator[None]:
    run.world.kill_service("postgres")
    yield
    run.world.wait_for_service("postgres")


@fault("Postgres frozen")
def _freeze_postgres(run: Run) -> Iterator[None]:
    run.world.freeze("postgres")
    yield
    run.world.thaw("postgres")


@fault("database sessions ended", 3)
def _end_sessions(run: Run) -> Iterator[bool]:
    ended = run.world.ask(
        "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE starts_with(application_name, 'photabatch') AND random() < 0.5"
    )
    yield ended > 0


@fault("answers of COMMIT lost", 4)
def _lose_answers(run: Run) -> Iterator[None]:
    run.world.wires.postgres.disturb_commits(Commits.LOSE_ANSWER, rate=0.2)
    yield
    run.world.wires.postgres.disturb_commits(None)


@fault("COMMITs lost")
def _lose_commits(run: Run) -> Iterator[None]:
    run.world.wires.postgres.disturb_commits(Commits.LOSE, rate=0.2)
    yield
    run.world.wires.postgres.disturb_commits(None)


@fault("S3 killed")
def _kill_s3(run: Run) -> Iterator[None]:
    run.world.kill_service("s3")
    yield
    run.world.wait_for_service("s3")


@fault("a wire cut", 4)
def _cut(run: Run) -> Iterator[bool]:
    yield _wire(run).cut() > 0


@fault("a wire dead", 4)
def _refuse(run: Run) -> Iterator[None]:
    yield from _mode(run, run.chance.choice((Mode.REFUSE, Mode.BLACK_HOLE)))


@fault("a wire that resets")
def _reset(run: Run) -> Iterator[None]:
    yield from _mode(run, Mode.RESET, limit=run.chance.randrange(20_000))


@fault("a slow wire")
def _throttle(run: Run) -> Iterator[None]:
    yield from _mode(run, Mode.THROTTLE, limit=200_000)


@fault("Phota errs", 6)
def _err(run: Run) -> Iterator[None]:
    submits = [{"match": "submit", "fault": name, "rate": 0.05} for name in run.chance.sample(_PHOTA, 4)]
    polls = [{"match": "poll", "fault": name, "rate": 0.05} for name in run.chance.sample(_PHOTA, 3)]
    downloads = [{"match": "download", "fault": name, "rate": 0.05} for name in run.chance.sample(_DOWNLOADS, 3)]
    with run.behaviour(faults=[each | {"seconds": 3.0} for each in (*submits, *polls, *downloads)]):
        yield


@fault("Phota limits")
def _limit(run: Run) -> Iterator[None]:
    with run.behaviour(limit=run.chance.randrange(1, 20)):
        yield


@fault("receiver down", 3)
def _deafen(run: Run) -> Iterator[None]:
    run.world.receiver.status = run.chance.choice((500, 503))
    yield
    run.world.receiver.status = 204


@fault("receiver slow", 1)
def _slow_receiver(run: Run) -> Iterator[None]:
    run.world.receiver.delay_s = 2.0
    yield
    run.world.receiver.delay_s = 0.0


@fault("messages doubled", 3)
def _double(run: Run) -> Iterator[bool]:
    """Ids of jobs in any state, to every stage, five times."""
    newest = "SELECT id FROM jobs WHERE state <> 'queued' ORDER BY id DESC LIMIT 64"
    ids = run.world.ask(f"SELECT array_agg(id) FROM ({newest}) AS newest") or []
    try:
        run.world.send_again(ids, times=5)
    except BrokerError:
        yield False
    else:
        yield bool(ids)


def _one_of(run: Run, kind: str) -> str:
    """Of those that live; if another fault has ended all of them, they are started again first."""
    if not run.world.alive(kind):
        run.world.keep_up()
    return run.chance.choice(run.world.alive(kind))


def _freeze_for(run: Run, name: str, seconds: float) -> Iterator[None]:
    """However soon the other faults end."""
    ends_at = time.monotonic() + seconds
    with watch.frozen(run.world, name):
        yield
        time.sleep(max(0.0, ends_at - time.monotonic()))


def _wire(run: Run) -> Proxy:
    wires: list[Proxy] = [*run.world.wires, run.world.hooks]
    return run.chance.choice(wires)


def _mode(run: Run, mode: Mode, *, limit: int = 0) -> Iterator[None]:
    wire = _wire(run)
    wire.set(mode, limit=limit)
    yield
    wire.set(Mode.PASS)
