"""`python -m chaos`: the fault campaign. Ends with 1 if a promise was broken; `--seed` replays what was printed."""

import argparse
import json
import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from chaos.campaign import ROWS, SIZES
from chaos.rows import load_rows
from chaos.side_by_side import run_rows


def main() -> int:
    load_rows()
    arguments = _arguments()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    wanted = [ROWS[key] for key in arguments.rows.split(",")] if arguments.rows else list(ROWS.values())
    rows = [one for one in wanted if arguments.size in one.sizes]
    print(f"seed {seed}, size {arguments.size}, rows {','.join(one.key for one in rows)}", flush=True)
    with ExitStack() as exits:
        folder = arguments.keep or Path(exits.enter_context(tempfile.TemporaryDirectory()))
        results = []
        for result in run_rows(rows, at_once=arguments.at_once, size=arguments.size, seed=seed, folder=folder):
            results.append(result)
            if arguments.out:  # each time: who ends a long campaign early keeps what it has found
                arguments.out.write_text(json.dumps([each.as_json() for each in results], indent=1) + "\n")
    ended = {result.key for result in results}
    print(f"{len(ended & set(ROWS))} rows, {sum(result.verdict.jobs for result in results)} jobs, seed {seed}")
    return 0 if all(row.key in ended for row in rows) and all(result.is_good for result in results) else 1


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


if __name__ == "__main__":
    sys.exit(main())
