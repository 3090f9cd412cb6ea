"""Rows of the fault matrix, run one after the other in one world, each judged by the oracle.

A row is a function that loads, injects and drains; `@row` puts it into the matrix with its sizes.
"""

import math
import random
import statistics
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chaos.load import Load
from chaos.oracle import Verdict, judge
from chaos.outcomes import states
from chaos.world import World

_AGAIN = ("all", "all of these once more, when their world ended")  # key and title
_OCCASION = "row"  # how the names of all batches of rows begin
_DAY_LONG = {"url_ttl_s": 86_400.0, "remember_s": 86_400.0}  # links, and what Phota remembers of requests
SIZES = ("smoke", "short", "long")
"""`smoke` is part of the suite, `short` of `make chaos`, `long` of `make chaos-long`."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a row is run: jobs, and how often its fault is injected."""

    jobs: int
    rounds: int


@dataclass
class Run:
    """What a row works with, and what it leaves for the report."""

    world: World
    load: Load
    size: Size
    chance: random.Random
    injected: Counter[str] = field(default_factory=Counter)
    recoveries_s: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    drain_s: float = 300.0  # for all that is left, once faults have ended
    allows_review: bool = False  # some outcomes cannot be known; see chaos.oracle.judge
    done: Counter[str] = field(default_factory=Counter)  # beside the faults
    others: dict[str, float] = field(default_factory=dict)  # how many may end so: see `chaos.outcomes.states`
    is_long: bool = False  # the size: time enough for leases to run out by themselves

    def inject(self, fault: str, times: int = 1) -> None:
        self.injected[fault] += times

    def do(self, what: str, times: int = 1) -> None:
        """What is told of, though it is no fault."""
        self.done[what] += times

    def may_end(self, how: str, at_most: float = math.inf) -> None:
        """So many jobs more need not succeed, but may be e.g. `failed needs_review`."""
        self.others[how] = self.others.get(how, 0) + at_most

    def recover(self, *, at_most_s: float = 120.0) -> None:
        """The fault has ended: seconds until the next job ends, noted for the report unless nothing was left to do."""
        took_s = self.world.wait_for_progress(at_most_s=at_most_s)
        if took_s is not None:
            self.recoveries_s.append(took_s)

    def pause(self, shortest_s: float, longest_s: float) -> None:
        """Let it run for a random while."""
        time.sleep(self.chance.uniform(shortest_s, longest_s))

    @contextmanager
    def behaviour(self, **behaviour: Any) -> Iterator[None]:
        """The simulated Phota behaves so inside the block, and well after it."""
        self.world.configure(**behaviour)
        try:
            yield
        finally:
            well: dict[str, Any] = {"faults": [], "limit": None, "credit": None, "key": None} | _DAY_LONG
            self.world.configure(**{name: value for name, value in well.items() if name in behaviour})


@dataclass(frozen=True, slots=True)
class Row:
    """`key` is the number of the matrix in the reliability notes, with a letter where a row has parts."""

    key: str
    title: str
    work: Callable[[Run], None]
    sizes: dict[str, Size]
    world: Callable[[Path], dict[str, Any]] | None  # what its world differs in, which it gets for itself then


ROWS: dict[str, Row] = {}


def row(
    key: str,
    title: str,
    *,
    smoke: tuple[int, int] | None = None,
    short: tuple[int, int],
    long: tuple[int, int],
    world: dict[str, Any] | Callable[[Path], dict[str, Any]] | None = None,
) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Put a function into the matrix; sizes are (jobs, rounds), no `smoke`: it takes too long for the suite.

    `world`: arguments of a World of its own; where they have to be made first, a function of a folder to do it in.
    """

    def register(work: Callable[[Run], None]) -> Callable[[Run], None]:
        sizes = {"smoke": smoke, "short": short, "long": long}
        given = {name: Size(*size) for name, size in sizes.items() if size}
        ROWS[key] = Row(key, title, work, given, (lambda _: world) if isinstance(world, dict) else world)
        return work

    return register


@dataclass
class Result:
    """One row as the report shows it."""

    key: str
    title: str
    size: str
    seed: int
    seconds: float
    injected: dict[str, int]
    recoveries_s: list[float]
    verdict: Verdict
    notes: list[str]
    done: dict[str, int]
    ended: dict[str, int]  # as chaos.outcomes.states counts
    error: str | None = None

    @property
    def is_good(self) -> bool:
        return self.error is None and not self.verdict.violations

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        faults = ", ".join(f"{count} × {name}" for name, count in self.injected.items())
        recovery = ""
        if self.recoveries_s:
            recovery = (
                f"; recovery median {statistics.median(self.recoveries_s):.1f} s, most {max(self.recoveries_s):.1f}"
            )
        said = "ok" if self.is_good else "; ".join([*self.verdict.examples, self.error or ""])
        jobs = f"{self.verdict.jobs} jobs, {self.verdict.violations} violations"
        return f"row {self.key:>3} {self.title}: {jobs}; {faults}{recovery}; {self.seconds:.0f} s: {said}"


def run_row(one: Row, world: World, *, size: str, seed: int) -> Result:
    """Once in a world. Never raise: what goes wrong in a row is its result."""
    load = Load(world, f"{_OCCASION}{one.key}-")
    run = Run(world, load, one.sizes[size], random.Random(f"{seed} {one.key}"), is_long=size == "long")
    began, error = time.monotonic(), None
    try:
        one.work(run)
        world.keep_up()
        load.drain(within_s=run.drain_s)
    except Exception:
        error = traceback.format_exc(limit=3)
    verdict, ended = Verdict(), Counter[str]()
    try:
        verdict = judge(world, load.prefix, accepted=load.accepted, allows_review=run.allows_review)
        ended = states(world, load.prefix)
    except Exception:  # a service never came back
        error = (error or "") + traceback.format_exc(limit=3)
    return Result(
        key=one.key,
        title=one.title,
        size=size,
        seed=seed,
        seconds=time.monotonic() - began,
        injected=dict(run.injected),
        recoveries_s=run.recoveries_s,
        verdict=verdict,
        notes=run.notes,
        done=dict(run.done),
        ended=dict(ended),
        error=error or _fault_of(run, ended),
    )


def judge_again(world: World, *, size: str, seed: int) -> Result:
    """All that rows left in a world that ends: late charges, rewritten rows, objects that have gone. Never raise."""
    began, error, verdict = time.monotonic(), None, Verdict()
    try:
        verdict = judge(world, _OCCASION, accepted=None, allows_review=True)
    except Exception:
        error = traceback.format_exc(limit=3)
    notes = [f"{verdict.jobs} jobs"]
    verdict.jobs = verdict.needs_person = 0  # counted where they ran
    seconds = time.monotonic() - began
    return Result(*_AGAIN, size, seed, seconds, {}, [], verdict, notes, {}, {}, error)


def _fault_of(run: Run, ended: Counter[str]) -> str | None:
    """What the oracle has no opinion of: a fault must have struck, and is no reason for a job to fail."""
    if not sum(run.injected.values()) or not sum(ended.values()):
        return f"nothing was tried: {dict(run.injected)} injected, {dict(ended)}"
    if wrong := {how: n for how, n in ended.items() if how != "succeeded" and n > run.others.get(how, 0)}:
        return f"ended otherwise than they should: {wrong}"
    return None
