"""`python -m chaos`: the fault campaign. Ends with 1 if a promise was broken; `--seed` replays what was printed."""

import argparse
import json
import random
import sys
import tempfile
from contextlib import ExitStack
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
    results = _run(rows, size=arguments.size, seed=seed, keep=arguments.keep)
    if arguments.out:
        arguments.out.write_text(json.dumps([result.as_json() for result in results], indent=1) + "\n")
    print(f"{sum(result.verdict.jobs for result in results)} jobs, seed {seed}")
    return 0 if all(result.is_good for result in results) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--rows", help=f"some of {','.join(ROWS)}; all without")
    parser.add_argument("--size", choices=SIZES, default="short")
    parser.add_argument("--seed", type=int, help="random without; printed either way")
    parser.add_argument("--out", type=Path, metavar="FILE", help="results as JSON, for chaos.report")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="data and logs stay there")
    given = parser.parse_args()
    if given.keep and given.keep.exists() and any(given.keep.iterdir()):
        parser.error(f"--keep: {given.keep} is not empty; name a folder for this run alone")
    return given


def _run(rows: list[Row], *, size: str, seed: int, keep: Path | None) -> list[Result]:
    """Rows that ask for no world of their own share one."""
    results: list[Result] = []
    with ExitStack() as exits:
        folder = keep or Path(exits.enter_context(tempfile.TemporaryDirectory()))
        common = [one for one in rows if not one.world]
        if common:
            with World(folder / "common", seed=seed) as world:
                results += [
                    _told(run_row(one, world, size=size, seed=seed, occasion=f"row{one.key}")) for one in common
                ]
        for one in rows:
            if one.world:
                own = folder / f"row{one.key}"
                with World(own, seed=seed, **one.world(own)) as world:
                    results.append(_told(run_row(one, world, size=size, seed=seed, occasion=f"row{one.key}")))
    return results


def _told(result: Result) -> Result:
    print(result, flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
