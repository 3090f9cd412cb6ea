"""Workers and dispatchers killed exactly between two effects: `clients/failpoints.py` has the places."""

import itertools
import os
import signal
import time
from collections.abc import Sequence

from sqlalchemy import text

from chaos.campaign import Run, row
from chaos.steps import Steps, watched
from chaos.watch import leader
from chaos.world import wait_for
from clients.failpoints import DISPATCHER_POINTS, WORKER_POINTS

_AT_ONCE = 4  # workers that are to die in one wave
_TELLING = ("after_submit", "after_upload", "in_commit")  # of which alone one kill each is enough to see a broken fence
_FEED_S = 2.0  # without a step of any job, before there is more to do
_FEED = 32
_MOST = 1_000  # jobs under way
_TICKING = tuple(point for point in DISPATCHER_POINTS if point != "after_listings_due")  # that is in ways_in.py


@row("2a", "killed at each fail point of the worker", smoke=(64, 3), short=(200, 13), long=(4000, 260))
def at_worker_points(run: Run) -> None:
    """Only doomed workers work, several with different points at once, until each has died where it should."""
    points = _TELLING if run.size.rounds <= len(_TELLING) else WORKER_POINTS
    order = list(itertools.islice(itertools.cycle(points), run.size.rounds))
    with watched(run) as steps:
        run.load.add(run.size.jobs)
        end_all(run, "worker")
        for start in range(0, len(order), _AT_ONCE):
            _wave(run, steps, order[start : start + _AT_ONCE])
            if run.is_long and start % (5 * _AT_ONCE) == 0:  # now and then good ones clear up
                run.world.keep_up()
                run.recover()
                run.pause(2, 4)
                end_all(run, "worker")
        if not run.is_long:
            steps.expire()
        run.world.keep_up()
        run.recover()


def _wave(run: Run, steps: Steps, points: Sequence[str]) -> None:
    doomed = {_doom(run, "worker", point, passage=run.chance.randrange(1, 5)): point for point in points}
    looked, last = time.monotonic(), steps.last()

    def are_dead() -> bool:
        nonlocal looked, last
        if time.monotonic() - looked > _FEED_S:
            if steps.last() == last and run.world.unfinished() < _MOST:
                run.load.add(_FEED)
            looked, last = time.monotonic(), steps.last()
        for name in [name for name in doomed if not run.world.child(name).is_alive]:
            _expect_death(run, name, doomed[name])
            steps.orphan(name)
            run.inject(f"killed {doomed.pop(name)}")
            steps.expire_others() if run.is_long else steps.expire()
        return not doomed

    try:
        wait_for(are_dead, at_most_s=180)
    except TimeoutError:
        raise TimeoutError(f"nobody passed {', '.join(doomed.values())}") from None
    _forgive(run)


@row("2b", "killed at each fail point of the dispatcher", short=(200, 6), long=(3000, 60))
def at_dispatcher_points(run: Run) -> None:
    """It leads until it dies; another one waits by then, and takes over."""
    per_round = max(1, run.size.jobs // run.size.rounds)
    with watched(run):
        for point in itertools.islice(itertools.cycle(_TICKING), run.size.rounds):
            end_all(run, "dispatcher")
            run.load.add(per_round)
            name = _doom(run, "dispatcher", point, passage=run.chance.randrange(1, 9))
            wait_for(lambda: leader(run.world), at_most_s=60)
            run.world.keep_up()
            wait_for(lambda name=name: _has_died(run, name), every_s=0.1, at_most_s=120)  # type: ignore[misc]
            _expect_death(run, name, point)
            run.inject(f"killed {point}")
            run.world.keep_up()
            run.recover()


def _has_died(run: Run, name: str) -> bool:
    """Work for it until then."""
    if not run.world.child(name).is_alive:
        return True
    if run.world.unfinished() < _FEED:
        run.load.add(_FEED)
    return False


def _expect_death(run: Run, name: str, point: str) -> None:
    """Raise AssertionError unless it died there."""
    child = run.world.child(name)
    if child.returncode != -signal.SIGKILL or f"fault injected at {point}" not in child.log.read_text(errors="replace"):
        raise AssertionError(f"{name} ended with {child.returncode}, not at {point}:\n{child.log_tail()}")
    run.world.forget(name)


def _doom(run: Run, kind: str, point: str, *, passage: int) -> str:
    return run.world.start(kind, PHOTABATCH_FAILPOINT=f"{point}:kill:{passage}")


def end_all(run: Run, kind: str) -> None:
    """SIGTERM to all of a kind at once, and wait for their end."""
    names = run.world.alive(kind)
    for name in names:
        os.kill(run.world.child(name).pid, signal.SIGTERM)
    wait_for(lambda: not any(run.world.child(name).is_alive for name in names))
    for name in names:
        run.world.forget(name)


def _forgive(run: Run) -> None:
    """Three claims in a row that end without a word make a job poison; here no job has killed anybody."""
    with run.world.engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET claims = 0 WHERE claims > 0 AND finished_at IS NULL"))
