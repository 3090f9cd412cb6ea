"""What becomes of messages: sent late or never, lost, doubled, taken in any order."""

from typing import Any

from models import dispatch
from tests.machine.database_rules import tick
from tests.machine.world import World


def send(world: World, pick: int) -> object:
    if not world.unsent:
        return None
    place = pick % len(world.unsent)
    world.queue.append(world.unsent.pop(place))
    return place


def unsend(world: World, pick: int) -> object:
    """The broker does not take it, or nobody is left to send it."""
    if not world.unsent:
        return None
    _, ids = world.unsent.pop(pick % len(world.unsent))
    if pick % 2:
        connection: Any = world.database
        dispatch.unsend(connection, ids)
    return pick % 2, len(ids)


def hand(world: World, pick: int) -> object:
    """A message to a process; with a bit of luck it comes again."""
    pick, which = divmod(pick, 2)
    able = [process for process in world.processes if not process.is_stopping]
    if not world.queue or not able:
        return None
    place = pick % len(world.queue)
    stage, ids = world.queue[place] if pick % 5 == 4 else world.queue.pop(place)
    able[which % len(able)].work(stage, ids)
    return place, which


def flow(world: World, pick: int) -> object:
    """A quiet moment: what is due goes out to the processes."""
    shape = tick(world, pick // 2 * 8 + 1)
    world.queue += world.unsent
    world.unsent.clear()
    able = [process for process in world.processes if not process.is_stopping]
    waiting = len(world.queue)
    while able and world.queue:
        able[(pick + len(world.queue)) % len(able)].work(*world.queue.pop(0))
    return (shape, pick % 2) if shape or waiting else None


def double(world: World, pick: int) -> object:
    """The same message up to five times, or in another order."""
    if not world.queue:
        return None
    place = pick % len(world.queue)
    world.queue += [world.queue[place]] * (1 + pick % 4)
    return place, pick % 4


def lose(world: World, pick: int) -> object:
    """One message, or all of them."""
    if not world.queue:
        return None
    if pick % 3 == 0:
        world.queue.clear()
        return "all"
    world.queue.pop(pick % len(world.queue))
    return pick % 3
