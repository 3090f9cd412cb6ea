"""Walks over the rules by a seeded source of chance: quick, and the same again for the same number."""

import bisect
import itertools
import logging
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import TextClause

from tests.machine.connection import Statement
from tests.machine.drain import drain
from tests.machine.promises import check
from tests.machine.rules import RULES
from tests.machine.world import Violation, World

_NAMES = list(RULES)
_WEIGHTS = [weight for _, weight in RULES.values()]
_RULES = [rule for rule, _ in RULES.values()]
_STEPS = (10, 20, 40, 80)
_PATIENCE = 60  # rules in a row that find nothing to do
_LIKES = (0, 1, 1, 4)
_NEEDED = ("perform", "advance")  # or a walk would not come far, or to a point where nothing can happen

Step = tuple[str, object]
Changed = Mapping[TextClause, Statement] | None


@dataclass(slots=True)
class Tally:
    """Of many walks. `distinct`: hashes of what was done in each, rule by rule, choice by choice."""

    walks: int = 0
    steps: int = 0
    distinct: set[int] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)


def walk(seed: int, *, changed: Changed = None) -> World:
    """One interleaving, faults first, then until everything has ended. Raise Violation, with what led to it."""
    return _walked(seed, changed)[0]


def campaign(seeds: range) -> Tally:
    """One walk a seed. Raise Violation for the first that breaks a promise."""
    tally = Tally()
    with quiet():
        for seed in seeds:
            world, trace = _walked(seed, None)
            tally.walks += 1
            tally.steps += len(trace)
            tally.distinct.add(hash(tuple(trace)))
            tally.seen += world.seen
            tally.seen.update(f"ended as {row.state}" for row in world.table.jobs.values())
            tally.seen.update(name for name, _ in trace[1:])
    return tally


def _walked(seed: int, changed: Changed) -> tuple[World, list[Step]]:
    chance = random.Random(seed)
    world = World(chance.getrandbits(20), changed=changed)
    trace: list[Step] = [("setting", world.setting)]
    weights = _temper(chance)
    try:
        for _ in range(chance.choice(_STEPS)):
            if (step := _step(world, chance, weights)) is None:
                break
            trace.append(step)
            check(world)
        drain(world)
    except Violation as violation:
        steps = "\n".join(f"  {name} {chosen}" for name, chosen in trace)
        raise Violation(f"seed {seed}: {violation}\n{steps}\nagain: {again(seed)}") from None
    finally:
        world.close()
    return world, trace


def _temper(chance: random.Random) -> list[float]:
    """Each walk has likes and dislikes of its own, or all would be of the same middling kind (swarm testing)."""
    wanted = [
        weight * (chance.choice(_LIKES) or name in _NEEDED) for name, weight in zip(_NAMES, _WEIGHTS, strict=True)
    ]
    return list(itertools.accumulate(wanted))


def _step(world: World, chance: random.Random, weights: list[float]) -> Step | None:
    """The next rule that finds something to do; None: all is over, as it seems."""
    for _ in range(_PATIENCE):
        index = bisect.bisect(weights, chance.random() * weights[-1])
        chosen = _RULES[index](world, chance.getrandbits(12))
        if chosen is not None:
            return _NAMES[index], chosen
    return None


def again(seed: int) -> str:
    """The command that walks this way alone."""
    return f'.venv/bin/python -c "from tests.machine.walk import walk; walk({seed})"'


@contextmanager
def quiet() -> Iterator[None]:
    """Faults by the million would fill the log."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
