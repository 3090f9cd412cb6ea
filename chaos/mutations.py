"""`python -m chaos.mutations [NAME …]`: breaks one promise at a time, in a copy, and demands that the suite fails.

First every test that is to notice something has to pass without any change. Ends with 1 if one fails there, or if a
mutant survives: then a test is missing.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from chaos.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[1]
_LEFT_OUT = (".*", "__pycache__", "*.egg-info", "dist", "build", "photabatch-out", "finished")
_KEPT = (".env.example", ".dockerignore")
_FAILED = 1  # what pytest ends with when tests failed; anything else is no verdict
_LIMIT_S = 300  # for the tests of one mutant, with the embedded servers that they start
_AT_ONCE = 2
_SHOWN = 100  # characters
_SAID = re.compile(r"^E +(.+)$", re.MULTILINE)
_FAILURE = re.compile(r"^FAILED ", re.MULTILINE)


class Tree:
    """A copy of the working tree, with one change at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.copytree(ROOT, folder, ignore=_left_out)

    @contextmanager
    def changed(self, mutant: Mutant) -> Iterator[None]:
        """Raise ValueError if its text is not there exactly once."""
        file = self._folder / mutant.file
        source = file.read_text()
        if (count := source.count(mutant.old)) != 1:
            raise ValueError(f"{mutant.name}: its text is {count} times in {mutant.file}")
        file.write_text(source.replace(mutant.old, mutant.new))
        try:
            yield
        finally:
            file.write_text(source)

    def test(self, tests: Sequence[str], *, limit_s: float) -> tuple[int | None, str]:
        """What pytest ended with, and what it printed; None: it took too long."""
        options = ["-q", "-x", "--tb=short", "-p", "no:cacheprovider", "--no-header"]
        paths = os.pathsep.join([str(self._folder), str(self._folder / "sdk")])
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *options, *tests],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limit_s,
            )
        except subprocess.TimeoutExpired:
            return None, "no end"
        return done.returncode, done.stdout + done.stderr


def _left_out(folder: str, names: list[str]) -> set[str]:
    return set(shutil.ignore_patterns(*_LEFT_OUT)(folder, names)) - set(_KEPT)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`told`: what the test that failed said first, or what came in place of that."""

    is_killed: bool
    told: str


def judge(mutant: Mutant, tree: Tree) -> Verdict:
    """A test that could not even begin has noticed nothing."""
    with tree.changed(mutant):
        code, output = tree.test(mutant.tests, limit_s=_LIMIT_S)
    if code == _FAILED and _FAILURE.search(output):
        said = _SAID.search(output)
        return Verdict(is_killed=True, told=f"killed: {said[1].strip()[:_SHOWN]}" if said else "killed")
    told = "SURVIVED" if code == 0 else f"NO VERDICT, pytest ended with {code}:\n{output[-2_000:]}"
    return Verdict(is_killed=False, told=told)


def run(mutants: Sequence[Mutant], *, at_once: int) -> int:
    """How many were not noticed; -1 if the tests fail without a mutant."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        trees: SimpleQueue[Tree] = SimpleQueue()
        for number in range(at_once):
            trees.put(Tree(Path(folder) / f"tree-{number}"))
        if not _is_sound(mutants, trees):
            return -1
        with ThreadPoolExecutor(at_once) as pool:
            return sum(pool.map(lambda mutant: _told(mutant, trees), mutants))


def _is_sound(mutants: Sequence[Mutant], trees: "SimpleQueue[Tree]") -> bool:
    tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    tree, began = trees.get(), time.monotonic()
    code, output = tree.test(tests, limit_s=_LIMIT_S * 4)
    trees.put(tree)
    print(f"without a mutant: {len(tests)} tests {'pass' if code == 0 else 'FAIL'}, {time.monotonic() - began:.0f} s")
    if code != 0:
        print(output[-6_000:])
    return code == 0


def _told(mutant: Mutant, trees: "SimpleQueue[Tree]") -> bool:
    tree, began = trees.get(), time.monotonic()
    try:
        verdict = judge(mutant, tree)
    finally:
        trees.put(tree)
    took_s = time.monotonic() - began
    print(f"{mutant.name} ({mutant.promise}), {took_s:.0f} s\n    {verdict.told}", flush=True)
    return not verdict.is_killed


def main() -> int:
    arguments = _arguments()
    known = {mutant.name: mutant for mutant in MUTANTS}
    if unknown := [name for name in arguments.names if name not in known]:
        print(f"no mutants of these names: {', '.join(unknown)}; --list tells them all", file=sys.stderr)
        return 2
    mutants = [known[name] for name in arguments.names] or list(MUTANTS)
    if arguments.list:
        print("\n".join(f"{mutant.name}: {mutant.promise}" for mutant in mutants))
        return 0
    missed = run(mutants, at_once=min(arguments.at_once, len(mutants)))
    print(f"{len(mutants)} mutants, {len(mutants) - missed if missed >= 0 else 0} killed, {max(0, missed)} not")
    return 0 if missed == 0 else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--list", action="store_true", help="their names, and what each breaks")
    parser.add_argument("--at-once", type=int, default=_AT_ONCE, help="trees that are tested at the same time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
