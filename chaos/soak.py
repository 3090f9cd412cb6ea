"""`python -m chaos.soak`: mixed load for an hour, a worker restarted every 20 s; what must stay flat is measured.

One worker, the dispatchers and the API live from beginning to end: theirs are the memory and the open files that would
grow. Ends with 1 if a promise was broken or something grew.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from chaos.campaign import Run, Size
from chaos.load import Load
from chaos.oracle import Verdict, judge
from chaos.outcomes import states
from chaos.world import World

RESTART_S = 20.0  # between two restarts of a worker
_SAMPLE_S = 15.0
_FEED_S = 2.0
_MB = 2**20
_GROWTH = 1.25  # of a median, from the second quarter to the last: more than that is growth
_SLACK = {
    "memory": 16.0,
    "files": 10.0,
    "connections": 10.0,
    "redis_mb": 3.0,
    "rows": 500.0,
}  # what a small one may gain
_FAULTS = [
    {"match": "submit", "fault": "503", "rate": 0.01, "retry_after_s": 1},
    {"match": "submit", "fault": "reset_after", "rate": 0.01},
    {"match": "poll", "fault": "500", "rate": 0.01},
    {"match": "download", "fault": "truncate", "rate": 0.01},
    {"match": "job", "fault": "fail", "rate": 0.01},
]
# Rows that must come and go: a table of work in progress that grows is a leak.
_PASSING = ("batch_deltas", "account_deltas", "upstream_reports")


@dataclass
class Soak:
    """What was measured. `samples`: by name, a value each time."""

    seconds: float = 0.0
    restarts: int = 0
    at_s: list[float] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)
    ended: dict[str, int] = field(default_factory=dict)  # as chaos.outcomes.states counts
    given_up: int = 0  # jobs that Phota itself failed, as it was told to
    seed: int = 0

    def grown(self) -> list[str]:
        """What is larger in the last quarter than in the second: the first is warming up."""
        found = []
        for name, values in self.samples.items():
            before, after = self.quarters(name)
            slack = next(slack for kind, slack in _SLACK.items() if name.startswith(kind))
            if after > max(before * _GROWTH, before + slack):
                found.append(f"{name} grew from {before:.0f} to {after:.0f} ({len(values)} samples)")
        return found

    def ended_otherwise(self) -> list[str]:
        """Ends that nothing injected is a reason for."""
        failed = sum(self.ended.values()) - self.ended.get("succeeded", 0)
        return [f"{failed} did not succeed: {self.ended}"] if failed > self.given_up else []

    def quarters(self, name: str) -> tuple[float, float]:
        """Medians of the second and of the last quarter."""
        values = self.samples[name]
        quarter = max(1, len(values) // 4)
        return statistics.median(values[quarter : 2 * quarter] or values), statistics.median(values[-quarter:])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=8, help="jobs a second")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--out", type=Path, metavar="FILE", help="figures as JSON, for chaos.report")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="data and logs stay there")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        soak = run_soak(given.keep or Path(temporary), seconds=given.minutes * 60, rate=given.rate, seed=given.seed)
    if given.out:
        given.out.write_text(json.dumps(asdict(soak), indent=1) + "\n")
    for name in soak.samples:
        before, after = soak.quarters(name)
        print(f"{name:24} {before:10.1f} {after:10.1f}")
    wrong = [*soak.verdict.examples, *soak.ended_otherwise(), *soak.grown()]
    print(f"{soak.verdict.jobs} jobs, {soak.restarts} restarts, {soak.verdict.violations} violations", *wrong, sep="\n")
    return 1 if wrong else 0


def run_soak(folder: Path, *, seconds: float, rate: float, seed: int) -> Soak:
    soak = Soak(seed=seed)
    with World(folder, seed=seed, workers=3) as world:
        load = Load(world, "soak-")
        run = Run(world, load, Size(0, 0), random.Random(seed))
        elder = world.alive("worker")[0]
        watched = {"worker": elder, "dispatcher": world.alive("dispatcher")[0], "api": world.alive("api")[0]}
        began = fed = time.monotonic()
        restarted = sampled = began
        with run.behaviour(faults=_FAULTS):
            while (now := time.monotonic()) - began < seconds:
                if now - fed >= _FEED_S:
                    _feed(load, int(rate * (now - fed)), soak.seed)
                    fed = now
                if now - restarted >= RESTART_S:
                    restarted = now
                    _restart_one(world, run, elder)
                    soak.restarts += 1
                if now - sampled >= _SAMPLE_S:
                    sampled = now
                    _sample(world, watched, soak, now - began)
                time.sleep(0.2)
        load.drain(within_s=300)
        soak.seconds = time.monotonic() - began
        soak.verdict = judge(world, load.prefix, accepted=load.accepted)
        soak.ended = dict(states(world, load.prefix))
        soak.given_up = sum(n for name, n in world.ledger(totals=True)["faults"].items() if name.startswith("job "))
    return soak


def _feed(load: Load, jobs: int, seed: int) -> None:
    """By Python, every tenth time over HTTP; nothing while the backlog is long already."""
    if load.world.unfinished() > 2_000 or jobs < 1:
        return
    if len(load.batches) % 10 == 9:
        load.add_over_http(jobs, key=f"soak-{seed}-{load.accepted}")
    load.add(jobs)


def _restart_one(world: World, run: Run, elder: str) -> None:
    """In turn asked to stop and killed; never the one whose memory is watched."""
    younger = [name for name in world.alive("worker") if name != elder]
    if run.chance.random() < 0.5:
        world.terminate(run.chance.choice(younger))
    else:
        world.kill(run.chance.choice(younger))
    world.keep_up()


def _sample(world: World, watched: dict[str, str], soak: Soak, at_s: float) -> None:
    values: dict[str, float] = {}
    for kind, name in watched.items():
        family = _family(world.child(name).pid)
        values[f"memory {kind} MB"] = sum(each.memory_full_info().pss for each in family) / _MB
        values[f"files {kind}"] = sum(each.num_fds() for each in family)
    values["connections postgres"] = float(world.ask("SELECT count(*) FROM pg_stat_activity"))
    info: dict[str, Any] = world.redis.info()
    values["connections redis"] = float(info["connected_clients"])
    values["redis_mb"] = info["used_memory"] / _MB
    values["rows redis keys"] = float(world.redis.dbsize())
    for table in _PASSING:
        values[f"rows {table}"] = float(world.ask(f"SELECT count(*) FROM {table}"))
    soak.at_s.append(at_s)
    for name, value in values.items():
        soak.samples.setdefault(name, []).append(value)


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


if __name__ == "__main__":
    sys.exit(main())
