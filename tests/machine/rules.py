"""What may happen next: each rule takes a number to choose by, and tells what it chose; None: there was nothing to do.

All is decided by the setting and these numbers: the same ones, the same history.
"""

from collections.abc import Callable

from tests.machine import faults
from tests.machine.database_rules import call_back, cancel, retry, send_lost, tick
from tests.machine.message_rules import double, flow, hand, lose, send, unsend
from tests.machine.phota import DAMAGED, MEMORY_S
from tests.machine.process import DatabaseCall, Effect
from tests.machine.world import World

Rule = Callable[[World, int], object]
_SPANS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 31.0, 61.0, 300.0, 700.0, 1900.0, 40_000.0, MEMORY_S - 20, 90_000.0)
_LONGEST_FREEZE_S = 600.0  # of a process between a claim and its call: beyond it the machine has it die


def perform(world: World, pick: int) -> object:
    """A call, and its answer."""
    if (found := _chosen(world, pick)) is None:
        return None
    effect, chosen = found
    effect.happen()
    effect.tell()
    return chosen


def proceed(world: World, pick: int) -> object:
    """Some calls, one after the other, with their answers."""
    most = 2 + pick % 14
    done = 0
    while done < most and perform(world, 0) is not None:
        done += 1
    return done or None


def execute(world: World, pick: int) -> object:
    """A call; its answer is on the way."""
    found = _chosen(world, pick)
    if found is None or found[0].is_done:
        return None
    found[0].happen()
    return found[1]


def refuse(world: World, pick: int) -> object:
    """A call that certainly comes to nothing."""
    pick, which = divmod(pick, 6)
    found = _chosen(world, pick)
    if found is None or found[0].is_done:
        return None
    effect, chosen = found
    if effect.kind in ("put", "get"):
        _store(world, effect, ("refused", "denied")[which % 2])
    else:
        refusals = faults.REFUSALS[effect.kind]
        effect.tell(refusals[which % len(refusals)]())
    return chosen, which


def cut(world: World, pick: int) -> object:
    """No answer: the call has happened, never will, or will yet."""
    pick, which = divmod(pick, 3)
    if (found := _chosen(world, pick)) is None:
        return None
    effect, chosen = found
    if effect.kind == "db":
        _cut_commit(effect, is_in_vain=which == 1)
    elif effect.kind in ("put", "get"):
        if effect.is_done:
            return None
        _store(world, effect, "cut")
    else:
        if which == 0:
            effect.happen()
        elif which == 1 and effect.kind in ("submit", "call") and not effect.is_done:
            world.travelling.append(effect)
        effect.tell(faults.cut())
    return chosen, which


def _cut_commit(effect: Effect, *, is_in_vain: bool) -> None:
    """What the statement found is known, whether it was committed is not: it was, unless it was `in_vain`."""
    call = effect.run
    assert isinstance(call, DatabaseCall)
    if is_in_vain and not effect.is_done:
        effect.is_done, effect.answer = True, call.in_vain()
    effect.happen()
    call.error = faults.database_away()
    effect.tell()


def time_out(world: World, pick: int) -> object:
    """A synchronous call that Phota ends, and refunds."""
    calls = [effect for effect in world.effects if effect.kind == "call" and not effect.is_done]
    if not calls:
        return None
    effect = calls[pick % len(calls)]
    effect.happen()
    world.phota.refund_last()
    effect.tell(faults.refunded())
    return pick % len(calls)


def damage(world: World, pick: int) -> object:
    """A result of which half is missing."""
    downloads = [effect for effect in world.effects if effect.kind == "download" and not effect.is_done]
    if not downloads:
        return None
    effect = downloads[pick % len(downloads)]
    effect.is_done, effect.answer = True, DAMAGED
    effect.tell()
    return pick % len(downloads)


def arrive(world: World, pick: int) -> object:
    """A call whose caller has given up long ago."""
    if not world.travelling:
        return None
    world.travelling.pop(pick % len(world.travelling)).happen()
    return pick


def finish(world: World, pick: int) -> object:
    """Phota ends a job."""
    pick, how = divmod(pick, 8)
    running = [job for job in world.phota.running if not job.is_stuck]
    if not running:
        return None
    world.phota.finish(running[pick % len(running)], {0: "failed", 1: "refused"}.get(how, "done"))
    return pick % len(running), how


def stick(world: World, pick: int) -> object:
    """Phota does not come to an end with a job."""
    running = [job for job in world.phota.running if not job.is_stuck]
    if not running:
        return None
    running[pick % len(running)].is_stuck = True
    return pick % len(running)


def outdate(world: World, pick: int) -> object:
    """Links end, or Phota clears up what is older than it promises."""
    if pick % 3 == 0:
        return world.phota.forget(age_s=MEMORY_S) or None
    world.phota.links_from = world.phota.now
    return True


def advance(world: World, pick: int) -> object:
    """Time passes, as a rule until something is due."""
    pick, which = divmod(pick, 4)
    if world.is_over and not (world.effects or world.queue or world.unsent or world.travelling):
        return None
    due = [row.due_at for row in world.table.jobs.values() if row.due_at is not None and row.due_at > world.table.now]
    span_s = min(due) - world.table.now if due and which else _SPANS_S[pick % len(_SPANS_S)]
    world.advance(span_s)
    if span_s > _LONGEST_FREEZE_S:
        _wake_nobody(world)
    return round(span_s, 3)


def _wake_nobody(world: World) -> None:
    """Of those who are about to call: nothing that this program can do keeps a call from leaving hours late."""
    for place, process in enumerate(world.processes):
        if any(effect.kind in ("submit", "call", "get") or effect.is_done for effect in process.effects):
            bury(world, place)
    world.travelling.clear()


def fire(world: World, pick: int) -> object:
    """A timer of a process: heartbeats, pauses."""
    place = pick % len(world.processes)
    process = world.processes[place]
    return None if process.is_idle or not process.loop.fire() else (place,)


def kill(world: World, pick: int) -> object:
    """In the middle of something."""
    place = pick % len(world.processes)
    if world.processes[place].is_idle:
        return None
    bury(world, place)
    return place


def bury(world: World, place: int) -> None:
    """Another one takes its place."""
    dead = world.processes[place]
    world.processes[place] = world.new_process()
    world.travelling += [effect for effect in dead.die() if effect.kind in ("submit", "call", "put")]


def stop(world: World, pick: int) -> object:
    """SIGTERM; it goes when it is done, or is killed at last."""
    place = pick % len(world.processes)
    process = world.processes[place]
    if process.is_stopping:
        bury(world, place)
    else:
        process.stop()
    return place, process.is_stopping


def doubt(world: World, pick: int) -> object:
    """What a process believes of the gate."""
    pick, which = divmod(pick, 2)
    world.processes[pick % len(world.processes)].closed_for_s = 5.0 * which
    return pick % len(world.processes), which


def _chosen(world: World, pick: int) -> tuple[Effect, int] | None:
    effects = world.effects
    return (effects[pick % len(effects)], pick % len(effects)) if effects else None


def _store(world: World, effect: Effect, fault: str) -> None:
    world.bucket.fault = fault
    effect.happen()
    world.bucket.fault = None
    effect.tell()


# With weights: an interleaving that never comes far shows little, one without faults less.
RULES: dict[str, tuple[Rule, int]] = {
    "perform": (perform, 60),
    "proceed": (proceed, 24),
    "execute": (execute, 20),
    "refuse": (refuse, 12),
    "cut": (cut, 16),
    "time_out": (time_out, 12),
    "damage": (damage, 20),
    "arrive": (arrive, 30),
    "flow": (flow, 12),
    "tick": (tick, 12),
    "send": (send, 24),
    "unsend": (unsend, 3),
    "send_lost": (send_lost, 12),
    "hand": (hand, 40),
    "double": (double, 20),
    "lose": (lose, 4),
    "finish": (finish, 30),
    "stick": (stick, 2),
    "outdate": (outdate, 2),
    "advance": (advance, 16),
    "fire": (fire, 5),
    "kill": (kill, 2),
    "stop": (stop, 1),
    "doubt": (doubt, 1),
    "call_back": (call_back, 14),
    "cancel": (cancel, 2),
    "retry": (retry, 24),
}
