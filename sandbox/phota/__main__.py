"""`python -m sandbox.phota`: serve the simulated Phota API."""

import argparse
from pathlib import Path

from sandbox.phota.config import SimulatorConfig
from sandbox.phota.server import serve


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox.phota", description=__doc__)
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on; 0, the default, takes any free one")
    parser.add_argument("--latency", help="seconds a request takes: 2, uniform:1-3 or lognormal:MEAN,SD")
    parser.add_argument("--limit", type=int, help="most jobs at work at once; above it 429")
    parser.add_argument("--credit", type=float, help="balance in USD (no end)")
    parser.add_argument("--key", help="the one API key that works (any)")
    parser.add_argument("--bytes", dest="size", metavar="N", type=int, help="every result is one picture of N bytes")
    parser.add_argument("--seed", type=int, help="seed of latencies and faults")
    parser.add_argument("--data", type=Path, help="folder that keeps jobs, charges and pictures over a restart")
    return parser


def main() -> None:
    given = {name: value for name, value in vars(_arguments().parse_args()).items() if value is not None}
    serve(SimulatorConfig(**given))


if __name__ == "__main__":
    main()
