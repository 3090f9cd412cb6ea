"""Benchmarks: each prints its figures; `docs/benchmarks.md` keeps them with the machine and the command."""
