"""Faults end: everybody who is alive goes on, every call succeeds, time passes as it must. All jobs have to end."""

from models.dispatch import QUARANTINE
from tests.machine import rules
from tests.machine.database_rules import tick
from tests.machine.promises import check, check_end
from tests.machine.world import Violation, World

_ROUNDS = 600
_HOPELESS_S = 1801.0  # a job that Phota never ends is given up after half an hour


def drain(world: World) -> None:
    """Until all jobs are final. Raise Violation if they never are."""
    world.batch.budget_usd = None  # what waits for money waits for a person
    world.queue += world.unsent
    world.unsent.clear()
    for place, process in enumerate(world.processes):
        process.closed_for_s = 0.0
        if process.is_stopping:
            rules.bury(world, place)
    for _ in range(_ROUNDS):
        _work(world)
        check(world)
        if world.is_over:
            check_end(world)
            return
        _go_on(world)
    raise Violation(f"no end: {[row for row in world.table.jobs.values() if not row.is_final]}")


def _work(world: World) -> None:
    """All that can happen at this moment."""
    while True:
        while rules.perform(world, 0) is not None:
            pass
        if not world.queue:
            return
        stage, ids = world.queue.pop(0)
        world.processes[0].work(stage, ids)


def _go_on(world: World) -> None:
    """Phota works, pauses end, and the clock goes to what is due next; the dispatcher looks."""
    for job in world.phota.running:
        if not job.is_stuck:
            world.phota.finish(job, "done")
    for process in world.processes:
        process.loop.fire()
        process.loop.fire()
    world.advance(_pause_s(world))
    tick(world, 8 * 11 + 1)
    world.queue += world.unsent
    world.unsent.clear()


def _pause_s(world: World) -> float:
    """Seconds until something is due; there is no use in polling what Phota never ends."""
    left = [row for row in world.table.jobs.values() if not row.is_final]
    if world.phota.running and all(row.state == "running" for row in left):
        return _HOPELESS_S
    now = world.table.now
    # what is sent one at a time and waits for its turn does not hold up the clock
    dues = [row.due_at for row in left if row.due_at is not None and (row.due_at > now or row.claims < QUARANTINE)]
    return max(0.0, min(dues, default=now) - now)
