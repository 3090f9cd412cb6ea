"""Workers die at random or are restarted in good order; messages come too often or too late."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from chaos.campaign import Run, row
from chaos.steps import Steps, unfinished, watched
from chaos.watch import frozen
from chaos.world import World, wait_for
from clients.phota_requests import Operation


@row("1", "workers killed at random", smoke=(80, 2), short=(400, 12), long=(2000, 200))
def killed(run: Run) -> None:
    with watched(run) as steps:
        _kill_at_random(run, steps)


@row("1b", "workers killed in the middle of synchronous calls", short=(60, 4), long=(600, 30),
     world={"environment": {"PHOTABATCH_PHOTA_MODE": "sync"}})  # fmt: skip
def killed_in_calls(run: Run) -> None:
    """What was called ends as `needs_review`, at its price, and is not called again by itself."""
    run.allows_review = True
    with watched(run) as steps:
        _kill_at_random(run, steps)
        run.load.drain(within_s=run.drain_s)
        in_dead_hands = len(steps.waits_s(is_sent=False))
        run.may_end("failed needs_review", in_dead_hands)  # one for each, at most
    _expect_calls(run, {}, at_most=run.load.accepted)


def _kill_at_random(run: Run, steps: Steps) -> None:
    per_round = max(1, run.size.jobs // (run.size.rounds + 1))
    run.load.add(run.size.jobs - per_round * run.size.rounds)
    run.world.wait_for_progress()  # a worker that is only starting holds nothing
    for _ in range(run.size.rounds):
        run.pause(0.3, 1.5)
        name = run.chance.choice(run.world.alive("worker"))
        with contextlib.suppress(TimeoutError):  # the others may have taken everything
            wait_for(lambda name=name: steps.in_hand(name), every_s=0.01, at_most_s=3)  # type: ignore[misc]
        steps.kill(name)
        run.inject("worker killed")
        run.world.keep_up()
        run.load.add(per_round)  # so that not all that is left is what the dead one held
        run.recover()
        if not run.is_long:
            steps.expire()


# -- messages


@row(
    "8",
    "each message delivered up to five times, to ten workers, and again long after",
    short=(240, 4),
    long=(4000, 40),
)
def doubled(run: Run) -> None:
    """Messages are copied while no worker takes any; beside that every id under way is told to every stage."""
    world = run.world
    calls = _calls(run)
    extra = [world.start("worker") for _ in range(8 if run.is_long else 2)]
    with watched(run) as steps:
        for _ in range(run.size.rounds):
            with frozen(world, *world.alive("worker")):
                run.load.add(run.size.jobs // run.size.rounds)
                wait_for(lambda: _waiting(world), at_most_s=30)
                run.pause(0.2, 0.4)
                run.inject("message copied", _copy_messages(run))
            ids = unfinished(run)
            world.send_again(ids, times=5)
            run.inject("id sent five times to every stage", len(ids))
            run.recover()
            wait_for(lambda: _waiting(world) < _FEW, at_most_s=120)  # copies of copies would soon be millions
        run.load.drain(within_s=run.drain_s)
        _send_stale(run, steps)
    for name in extra:
        world.terminate(name)
    _expect_calls(run, calls, exactly=run.load.accepted)


_FEW = 50
_QUEUES = ("submit", "poll", "store", "notify")


def _waiting(world: World) -> int:
    return sum(int(world.redis.llen(queue)) for queue in _QUEUES)


def _copy_messages(run: Run) -> int:
    """Each of those that wait in Redis 0 to 4 times more; how many copies."""
    copies = 0
    for queue in _QUEUES:
        for message in run.world.redis.lrange(queue, 0, -1):
            times = run.chance.randrange(5)
            for _ in range(times):
                run.world.redis.lpush(queue, message)
            copies += times
    return copies


def _send_stale(run: Run, steps: Steps) -> None:
    """Long after the end, every id once more to every stage: nobody takes anything."""
    before = steps.last()
    statement = (
        "SELECT array_agg(job.id) FROM jobs AS job JOIN batches AS batch ON batch.id = job.batch_id "
        "WHERE batch.name LIKE :prefix"
    )
    ids = list(run.world.ask(statement, prefix=f"{run.load.prefix}%"))
    for start in range(0, len(ids), 500):
        run.world.send_again(ids[start : start + 500], times=1)
    run.inject("stale id", len(ids))
    wait_for(lambda: not _waiting(run.world), at_most_s=60)
    run.pause(0.5, 1.0)
    if taken := steps.last() - before:
        raise AssertionError(f"{taken} steps of jobs that had ended")


# -- restarts in good order


# Some calls last, so that a worker is asked to stop in the middle of one.
_SLOW = [{"match": "submit", "fault": "slow", "seconds": 1.5, "rate": 0.5}]


@row("15", "rolling restart of everything", short=(240, 6), long=(6000, 18))
def rolling(run: Run) -> None:
    """SIGTERM, a worker each time, now and then a dispatcher and the API, under a load that also comes over HTTP."""
    calls = _calls(run)
    took_s: list[float] = []
    per_round = run.size.jobs // run.size.rounds
    with watched(run) as steps, run.behaviour(faults=_SLOW), ThreadPoolExecutor(1) as poster:
        for number in range(run.size.rounds):
            run.load.add(per_round // 2)
            posted = poster.submit(run.load.add_over_http, per_round // 2, key=f"{run.load.prefix}{number}")
            kinds: list[tuple[str, Callable[[Run], float]]] = [("worker", partial(_restart_worker, steps))]
            kinds += [("dispatcher", _restart_dispatcher)] if number % 3 == 1 else []
            kinds += [("API", _restart_api)] if number % 3 == 2 else []
            for name, restart in kinds:
                took_s.append(restart(run))
                run.inject(f"{name} restarted")
                run.recover()
            posted.result()
            if run.is_long:
                run.pause(6, 10)
    run.notes.append(f"processes ended within {max(took_s):.1f} s of SIGTERM")
    _expect_calls(run, calls, exactly=run.load.accepted)


def _restart_worker(steps: Steps, run: Run) -> float:
    """In the middle of its calls."""
    oldest = run.world.alive("worker")[0]
    run.world.start("worker")
    with contextlib.suppress(TimeoutError):  # the others may have taken everything
        wait_for(lambda: steps.in_hand(oldest), every_s=0.01, at_most_s=10)
    return _terminate(run, oldest)


def _restart_dispatcher(run: Run) -> float:
    oldest = run.world.alive("dispatcher")[0]
    run.world.start("dispatcher")
    return _terminate(run, oldest)


def _terminate(run: Run, name: str) -> float:
    began = time.monotonic()
    run.world.terminate(name)
    return time.monotonic() - began


def _restart_api(run: Run) -> float:
    """The stack starts it again."""
    child = run.world.child(run.world.alive("api")[0])
    before, began = child.pid, time.monotonic()
    os.kill(before, signal.SIGTERM)
    wait_for(lambda: child.pid != before or not child.is_alive)
    took_s = time.monotonic() - began
    wait_for(lambda: child.pid != before and child.is_alive)
    return took_s


def _calls(run: Run) -> dict[str, int]:
    """How often each endpoint of the simulated Phota was called so far."""
    calls: dict[str, int] = run.world.ledger(totals=True)["calls"]
    return calls


def _expect_calls(run: Run, before: dict[str, int], *, exactly: int | None = None, at_most: int | None = None) -> None:
    """Submits since `before`. Raise AssertionError."""
    now = _calls(run)
    made = sum(now.get(name, 0) - before.get(name, 0) for name in Operation)
    run.notes.append(f"{made} submits for {run.load.accepted} jobs")
    if exactly is not None and made != exactly:
        raise AssertionError(f"{made} submits for {exactly} jobs")
    if at_most is not None and made > at_most:
        raise AssertionError(f"{made} submits for {at_most} jobs")
