"""Zombies: workers and dispatchers that are cut off or frozen until others have their work, and come back."""

import contextlib
import time
from collections.abc import Callable, Iterator

from chaos.campaign import Run, row
from chaos.proxy import Mode
from chaos.steps import Steps, watched
from chaos.watch import leader, refusals, watched_leading, who_admitted
from chaos.wires import Wires
from chaos.world import World, wait_for
from models.claims import LEASE_S

_BEYOND_S = LEASE_S + 12.0  # longer than a lease, the tick that finds it, and the claim
_LEADING_S = 15.0  # a leader that is silent for so long loses its session
# Calls that last, so that a worker has jobs in its hands at any moment.
_LASTING = [{"match": place, "fault": "slow", "seconds": 2.0, "rate": 0.5} for place in ("submit", "poll", "download")]
_FEED = 40  # jobs, where there are fewer
_CUT: dict[str, tuple[str, ...]] = {
    "cut off from Postgres": ("postgres",),
    "cut off from Redis": ("broker",),
    "cut off from both": ("postgres", "broker"),
    "cut off from Phota and S3": ("phota", "s3"),
}


@row("7a", "workers cut off or frozen for longer than their lease", short=(200, 1), long=(2000, 4))
def cut_off(run: Run) -> None:
    """Of five extra workers one is frozen and each other cut off from something, all at once; then they come back."""
    world = run.world
    with watched(run) as steps, run.behaviour(faults=_LASTING):
        for _ in range(run.size.rounds):
            wires = {world.start("worker", wires=own): (what, own) for what, own in _new_wires(world)}
            frozen = world.start("worker")
            _feed(run, until=lambda names=(*wires, frozen): all(map(steps.in_hand, names)))  # type: ignore[misc]
            for name, (what, own) in wires.items():
                _set(own, _CUT[what], Mode.BLACK_HOLE)
                run.inject(f"worker {what}")
                steps.orphan(name)
            world.freeze(frozen)
            run.inject("worker frozen")
            steps.orphan(frozen)
            _outlast(run, steps)
            world.thaw(frozen)
            for what, own in wires.values():
                _set(own, _CUT[what], Mode.PASS)
            cut = [name for name, (what, _) in wires.items() if "postgres" in _CUT[what]]
            _await_the_dead(run, [*wires, frozen], zombies=[*cut, frozen])


@row("7b", "event loops blocked while heartbeats are due", short=(120, 2), long=(800, 4))
def blocked(run: Run) -> None:
    """A thread that nobody else can interrupt, as a picture decoded in the wrong place would be."""
    seconds = _BEYOND_S if run.is_long else 10.0
    with watched(run) as steps:
        for number in range(run.size.rounds):
            point = ("in_poll", "after_upload")[number % 2]
            failpoint = f"{point}:block:{seconds:g}:{run.chance.randrange(3, 9)}"
            name = run.world.start("worker", PHOTABATCH_FAILPOINT=failpoint)
            log = run.world.child(name).log
            _feed(run, until=lambda log=log: "fault injected" in log.read_text(errors="replace"))  # type: ignore[misc]
            run.inject(f"event loop blocked {point}")
            steps.orphan(name)
            _outlast(run, steps)
            _await_the_dead(run, [name], zombies=[name])


def _new_wires(world: World) -> Iterator[tuple[str, Wires]]:
    for what in _CUT:
        yield what, world.new_wires()


def _set(wires: Wires, names: tuple[str, ...], mode: Mode) -> None:
    for name in names:
        getattr(wires, name).set(mode)


def _feed(run: Run, *, until: Callable[[], bool]) -> None:
    """Enough to do, until that holds."""

    def holds() -> bool:
        if run.world.unfinished() < _FEED:
            run.load.add(_FEED)
        return until()

    wait_for(holds, at_most_s=120)


def _outlast(run: Run, steps: Steps) -> None:
    """Until leases have run out, or as if they had, and others hold what they held."""
    if not run.is_long:
        time.sleep(1.0)
        steps.expire()
    run.world.keep_up()
    steps.wait_until_taken(at_most_s=3 * _BEYOND_S)
    run.recover()


def _await_the_dead(run: Run, names: list[str], *, zombies: list[str]) -> None:
    """They are back: let the zombies write what they can, count what was refused, and end all of them."""
    world = run.world
    with contextlib.suppress(TimeoutError):  # one may have had nothing to write
        wait_for(lambda: all(refusals(world, name) for name in zombies), every_s=0.25)
    refused = {name: refusals(world, name) for name in names}
    tried = sum(refused[name] > 0 for name in zombies)
    writes = sum(refused.values())
    run.notes.append(f"{tried} of {len(zombies)} zombies tried to write; {writes} writes of who came back were refused")
    if not tried:
        raise AssertionError("no zombie tried to write")
    for name in names:
        world.terminate(name)


@row("7c", "the leading dispatcher frozen until another leads", short=(150, 2), long=(1500, 8))
def leader_frozen(run: Run) -> None:
    with watched_leading(run.world), watched(run) as steps:
        for _ in range(run.size.rounds):
            run.load.add(run.size.jobs // run.size.rounds)
            run.pause(0.5, 1.5)
            name, session = steps.sender(), leader(run.world)
            run.world.freeze(name)
            run.inject("leader frozen")
            if not run.is_long:
                run.world.ask("SELECT pg_terminate_backend(:pid)", pid=session)  # as after 15 s without a word
            wait_for(lambda was=session: leader(run.world) not in (None, was), at_most_s=2 * _LEADING_S)  # type: ignore[misc]
            run.recover()
            before = steps.last()
            run.world.thaw(name)
            run.load.add(20)
            run.recover()
            run.pause(0.5, 1.5)
            if sent := steps.by(name, after=before, kind="sent"):
                raise AssertionError(f"{name} woke up and sent {sent} jobs though another led")
        leaders, strangers = who_admitted(run.world)
        run.notes.append(f"{leaders} sessions led one after the other")
        if strangers:
            raise AssertionError(f"{strangers} jobs admitted by a session that did not hold the lock")
