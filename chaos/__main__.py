"""`python -m chaos`: the fault campaign. Ends with 1 if a promise was broken; `--seed` replays what was printed."""

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.queues import Queue
from pathlib import Path

from chaos.campaign import ROWS, SIZES, Result, Row, run_row
from chaos.rows import load_rows
from chaos.world import World


def main() -> int:
    load_rows()
    arguments = _arguments()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    wanted = [ROWS[key] for key in arguments.rows.split(",")] if arguments.rows else list(ROWS.values())
    rows = [one for one in wanted if arguments.size in one.sizes]
    print(f"seed {seed}, size {arguments.size}, rows {','.join(one.key for one in rows)}", flush=True)
    with ExitStack() as exits:
        folder = arguments.keep or Path(exits.enter_context(tempfile.TemporaryDirectory()))
        results = _run(rows, at_once=arguments.at_once, size=arguments.size, seed=seed, folder=folder)
    if arguments.out:
        arguments.out.write_text(json.dumps([result.as_json() for result in results], indent=1) + "\n")
    print(f"{len(results)} rows, {sum(result.verdict.jobs for result in results)} jobs, seed {seed}")
    return 0 if len(results) == len(rows) and all(result.is_good for result in results) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--rows", help=f"some of {','.join(ROWS)}; all without")
    parser.add_argument("--size", choices=SIZES, default="short")
    parser.add_argument("--seed", type=int, help="random without; printed either way")
    parser.add_argument("--out", type=Path, metavar="FILE", help="results as JSON, for chaos.report")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="data and logs stay there")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="worlds side by side: most rows wait a lot")
    given = parser.parse_args()
    if given.keep and given.keep.exists() and any(given.keep.iterdir()):
        parser.error(f"--keep: {given.keep} is not empty; name a folder for this run alone")
    return given


def _run(rows: Sequence[Row], *, at_once: int, size: str, seed: int, folder: Path) -> list[Result]:
    """The most work first, so that none is left with it at the end. Rows of a world that did not start are missing."""
    new = multiprocessing.get_context("spawn")  # a world makes its process a producer: one each
    keys: Queue[str | None] = new.Queue()
    for one in sorted(rows, key=lambda one: one.sizes[size].jobs, reverse=at_once > 1):
        keys.put(one.key)
    for _ in range(at_once):
        keys.put(None)
    results: Queue[Result | None] = new.Queue()
    workers = [
        new.Process(target=_work, args=(keys, results, folder / str(number), size, seed)) for number in range(at_once)
    ]
    for worker in workers:
        worker.start()
    ended = [result for _ in workers for result in iter(results.get, None)]
    for worker in workers:
        worker.join()
    return ended


def _work(keys: "Queue[str | None]", results: "Queue[Result | None]", folder: Path, size: str, seed: int) -> None:
    """Rows that ask for no world of their own share one."""
    load_rows()
    try:
        with ExitStack() as exits:
            common: World | None = None
            for key in iter(keys.get, None):
                one = ROWS[key]
                if one.world:
                    own = folder / f"row{key}"
                    with World(own, seed=seed, **one.world(own)) as world:
                        result = run_row(one, world, size=size, seed=seed, occasion=f"row{key}")
                else:
                    common = common or exits.enter_context(World(folder / "common", seed=seed))
                    result = run_row(one, common, size=size, seed=seed, occasion=f"row{key}")
                print(result, flush=True)
                results.put(result)
    finally:
        results.put(None)


if __name__ == "__main__":
    sys.exit(main())
