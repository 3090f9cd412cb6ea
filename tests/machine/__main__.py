"""`python -m tests.machine [WALKS] [FIRST]`: so many interleavings from a seed on, and what was seen on the way."""

import sys
import time

from tests.machine.walk import Tally, campaign

WALKS = 110_000  # short ones happen to be the same: over 100,000 of them are different


def told(tally: Tally, seconds: float) -> str:
    """In words."""
    seen = ", ".join(f"{name} {count:,}" for name, count in sorted(tally.seen.items()))
    return (
        f"{tally.walks:,} walks, {len(tally.distinct):,} different interleavings, {tally.steps:,} steps before "
        f"faults ended, {seconds:.0f} s of processor time, violations 0\n{seen}\n"
    )


def main(walks: int = WALKS, first: int = 0) -> None:
    began = time.process_time()
    tally = campaign(range(first, first + walks))
    sys.stdout.write(told(tally, time.process_time() - began))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
