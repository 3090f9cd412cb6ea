"""`python -m chaos.report FILE…`: the tables of docs/reliability.md, from what campaigns and soaks wrote with `--out`.

Everything between the two marks of the page is made anew, the prose around it stays.
"""

import argparse
import json
import math
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from chaos.campaign import ROWS
from chaos.rows import load_rows

_PAGE = Path("docs/reliability.md")
_BEGIN, _END = "<!-- figures: made by chaos.report -->", "<!-- end of figures -->"
_COUNTED = {
    "lost": "lost",
    "charged_twice": "charged twice",
    "charged_wrongly": "charged wrongly",
    "undelivered": "events undelivered",
    "two_finals": "two final states",
    "partial": "partial objects",
    "miscounted": "miscounted",
    "out_of_order": "out of order",
    "unpaid": "unpaid",
}
_SHOWN = ("lost", "charged_twice", "undelivered")
_ARE_LOADS = ("14",)  # nothing breaks in them: they do not count as jobs run under faults
Entry = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.report", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--page", type=Path, default=_PAGE)
    given = parser.parse_args()
    load_rows()
    read = [json.loads(path.read_text()) for path in given.files]
    rows = merged([entry for each in read if isinstance(each, list) for entry in each])
    soaks = [each for each in read if isinstance(each, dict)]
    page = given.page.read_text()
    head, _, rest = page.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    figures = "\n\n".join([totals(rows, soaks), matrix(rows), *map(soak_table, soaks)])
    given.page.write_text(f"{head}{_BEGIN}\n\n{figures}\n\n{_END}{tail}")
    return 0


def merged(entries: list[Entry]) -> list[Entry]:
    """Runs of the same row as one, in order of the matrix."""
    rows: dict[str, Entry] = {}
    for entry in entries:
        row = rows.setdefault(
            entry["key"],
            {**entry, "injected": Counter(), "recoveries_s": [], "verdict": Counter(), "runs": set(), "notes": []}
            | {"errors": 0},
        )
        row["injected"].update(entry["injected"])
        row["recoveries_s"] += entry["recoveries_s"]
        row["verdict"].update({name: value for name, value in entry["verdict"].items() if name != "examples"})
        row["runs"].add((entry["size"], entry["seed"]))
        row["notes"] += entry["notes"]
        row["errors"] += entry["error"] is not None
    return sorted(rows.values(), key=lambda row: (int("".join(filter(str.isdigit, row["key"])) or 99), row["key"]))


def totals(rows: list[Entry], soaks: list[Entry]) -> str:
    """All campaigns but those of mere load together, with the bound that so many jobs without a violation allow."""
    rows = [row for row in rows if row["key"] not in _ARE_LOADS]
    everything: Counter[str] = Counter()
    for each in [row["verdict"] for row in rows] + [soak["verdict"] for soak in soaks]:
        everything.update({name: value for name, value in each.items() if name != "examples"})
    jobs = everything["jobs"]
    faults = sum(sum(row["injected"].values()) for row in rows) + sum(soak["restarts"] for soak in soaks)
    errors = sum(row["errors"] for row in rows)
    lines = [
        "| over all campaigns | |",
        "|---|---:|",
        f"| jobs run under faults | {jobs:,} |",
        f"| faults injected | {faults:,} |",
        *(f"| {words} | {everything[name]:,} |" for name, words in _COUNTED.items()),
        f"| rows that did not end as they should | {errors} |",
        f"| ended as `needs_review` or `worker_lost`, for a person | {everything['needs_person']:,} |",
    ]
    if not errors and not any(everything[name] for name in _COUNTED):
        lines += [
            f"| never seen, so rarer than (95 %, rule of three) | {3 / jobs:.1e} a job, {3 / faults:.1e} a fault |"
        ]
    return "\n".join(lines)


def matrix(rows: list[Entry]) -> str:
    lines = [
        "| row | fault | size | injected | jobs | lost | twice | undelivered | other | result "
        "| back: median | p99 | most |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---|---:|---:|---:|",
    ]
    for row in rows:
        verdict = row["verdict"]
        injected = ", ".join(f"{count:,} × {name}" for name, count in sorted(row["injected"].items()))
        found = sum(verdict[name] for name in _COUNTED)
        other = found - sum(verdict[name] for name in _SHOWN)
        result = "not as it should" if row["errors"] else "violations" if found else "as it should"
        counts = [*(str(verdict[name]) for name in _SHOWN), str(other), result]
        sizes = ", ".join(sorted({size for size, _ in row["runs"]}))
        named = [row["key"], row["title"], sizes, injected, f"{verdict['jobs']:,}"]
        cells = [*named, *counts, *_recovery(row["recoveries_s"])]
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- row {row['key']}: {note}" for row in rows for note in row["notes"]]
    runs = sorted({run for row in rows for run in row["runs"]})
    told = ", ".join(f"`--size {size} --seed {seed}`" for size, seed in runs)
    again = f"Each row again: `python -m chaos --rows KEY` with the size and the seed of its run: {told}."
    if missing := [key for key in ROWS if key not in {row["key"] for row in rows}]:
        again += f" Not run: {', '.join(missing)}."
    return "\n".join([*lines, "", again, "", *notes])


def _recovery(seconds: list[float]) -> list[str]:
    if not seconds:
        return ["", "", ""]
    ordered = sorted(seconds)
    p99 = ordered[math.ceil(0.99 * len(ordered)) - 1]
    return [f"{statistics.median(ordered):.1f} s", f"{p99:.1f} s", f"{ordered[-1]:.1f} s"]


def soak_table(soak: Entry) -> str:
    lines = [
        f"Soak of {soak['seconds'] / 60:.0f} minutes, {soak['verdict']['jobs']:,} jobs, {soak['restarts']} restarts of "
        f"workers (`python -m chaos.soak --seed {soak['seed']}`):",
        "",
        "| measured | second quarter | last quarter | most |",
        "|---|---:|---:|---:|",
    ]
    for name, values in soak["samples"].items():
        quarter = max(1, len(values) // 4)
        before, after = statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])
        lines.append(f"| {name} | {before:,.1f} | {after:,.1f} | {max(values):,.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
