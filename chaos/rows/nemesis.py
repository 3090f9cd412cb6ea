"""Everything at once: a seeded random mix of all faults, over a load that never ends before they do."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

import redis
from kombu.exceptions import OperationalError as BrokerError

from chaos.campaign import Run, row
from chaos.proxy import Commits, Mode, Proxy

Fault = Callable[[Run], AbstractContextManager[None]]

_FAULTS: dict[str, tuple[int, Fault]] = {}  # with how often it is chosen, relatively
_PHOTA = ("429", "500", "502", "503", "504", "reset", "reset_after", "truncate", "bad_json", "html", "wrong_length")
_DOWNLOADS = ("500", "reset", "truncate", "wrong_length", "not_an_image", "expired", "slow")


@row("17", "everything at once, seeded", smoke=(300, 6), short=(1_500, 20), long=(20_000, 200))
def nemesis(run: Run) -> None:
    """One to three faults at a time for 1 to 6 s, then recovery; the backlog is filled up as it drains."""
    most = max(200, min(1_500, run.size.jobs // 3))
    for left in range(run.size.rounds, 0, -1):
        _fill(run, most, left)
        names = run.chance.choices(list(_FAULTS), weights=[weight for weight, _ in _FAULTS.values()], k=3)
        with ExitStack() as faults:
            for name in sorted(set(names[: run.chance.choice((1, 1, 2, 3))]), key=_last_what_freezes):
                run.inject(name)
                faults.enter_context(_FAULTS[name][1](run))
            run.pause(1, 6)
        run.world.keep_up()
        run.recover()


def _last_what_freezes(name: str) -> tuple[bool, str]:
    """Other faults need the service that a freeze stops, and would wait for it."""
    return name.endswith("frozen"), name


def _fill(run: Run, most: int, rounds_left: int) -> None:
    """As many as are missing, but no more than what the remaining rounds need to spread."""
    missing = min(most - run.world.unfinished(), run.size.jobs - run.load.accepted)
    if missing > 0:
        run.load.add(max(1, min(missing, 3 * run.size.jobs // (2 * rounds_left) + 1)))


def fault(name: str, weight: int = 2) -> Callable[[Callable[[Run], Iterator[None]]], Fault]:
    def register(work: Callable[[Run], Iterator[None]]) -> Fault:
        made = contextmanager(work)
        _FAULTS[name] = (weight, made)
        return made

    return register


@fault("worker killed", 4)
def _kill_worker(run: Run) -> Iterator[None]:
    run.world.kill(run.chance.choice(run.world.alive("worker")))
    yield


@fault("worker asked to stop", 3)
def _stop_worker(run: Run) -> Iterator[None]:
    run.world.terminate(run.chance.choice(run.world.alive("worker")))
    yield


@fault("worker frozen")
def _freeze_worker(run: Run) -> Iterator[None]:
    name = run.chance.choice(run.world.alive("worker"))
    run.world.freeze(name)
    yield
    run.world.thaw(name)


@fault("dispatcher killed")
def _kill_dispatcher(run: Run) -> Iterator[None]:
    run.world.kill(run.chance.choice(run.world.alive("dispatcher")))
    yield


@fault("dispatcher frozen", 1)
def _freeze_dispatcher(run: Run) -> Iterator[None]:
    name = run.chance.choice(run.world.alive("dispatcher"))
    run.world.freeze(name)
    yield
    run.world.thaw(name)


@fault("Redis flushed", 3)
def _flush(run: Run) -> Iterator[None]:
    with suppress(redis.RedisError):
        run.world.redis.flushall()
    yield


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
def _end_sessions(run: Run) -> Iterator[None]:
    run.world.ask(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name = 'photabatch' AND random() < 0.5"
    )
    yield


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
def _cut(run: Run) -> Iterator[None]:
    _wire(run).cut()
    yield


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
def _double(run: Run) -> Iterator[None]:
    """Ids of jobs in any state, to every stage, five times."""
    newest = "SELECT id FROM jobs WHERE state <> 'queued' ORDER BY id DESC LIMIT 64"
    ids = run.world.ask(f"SELECT array_agg(id) FROM ({newest}) AS newest") or []
    with suppress(BrokerError):
        run.world.send_again(ids, times=5)
    yield


def _wire(run: Run) -> Proxy:
    wires: list[Proxy] = [*run.world.wires, run.world.hooks]
    return run.chance.choice(wires)


def _mode(run: Run, mode: Mode, *, limit: int = 0) -> Iterator[None]:
    wire = _wire(run)
    wire.set(mode, limit=limit)
    yield
    wire.set(Mode.PASS)
