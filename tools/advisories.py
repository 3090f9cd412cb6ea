"""Known vulnerabilities of everything that is pinned: exit 0 none, 1 found, 5 nobody could be asked.

pip-audit alone reports "no known vulnerabilities" of packages that its service does not know, and a mirror of the index
that has no advisories knows none. So its answers are counted: what nobody was asked about is not clean.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")  # the next one is asked where one cannot be reached
CLEAN, FOUND, UNASKED = 0, 1, 5
# Advisory to why it does not concern us; one without a reason, or gone from the answers, does not belong here.
ACCEPTED: Mapping[str, str] = {}
_TIMEOUT_S = 10  # of one request
_PIP_AUDIT = ("-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--timeout", str(_TIMEOUT_S))


@dataclass(frozen=True, slots=True)
class Answer:
    """`asked`: packages that the service knows; `unasked`: those it does not; `found`: a line an advisory."""

    asked: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()
    found: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        return FOUND if self.found else UNASKED if self.unasked or not self.asked else CLEAN


def read_answer(packages: Iterable[Mapping[str, Any]]) -> Answer:
    """From `dependencies` of pip-audit's JSON."""
    packages = list(packages)
    found = [
        f"{each['name']} {each['version']}: {', '.join([fault['id'], *fault['aliases']])};"
        f" mended in {', '.join(fault['fix_versions']) or 'no version yet'}"
        for each in packages
        for fault in each.get("vulns", ())
        if ACCEPTED.keys().isdisjoint([fault["id"], *fault["aliases"]])
    ]
    return Answer(
        asked=tuple(each["name"] for each in packages if "skip_reason" not in each),
        unasked=tuple(each["name"] for each in packages if "skip_reason" in each),
        found=tuple(found),
    )


def ask(service: str, files: Sequence[str]) -> Answer:
    """Of everything that `files` pin by hash; nothing is installed or resolved for it."""
    wanted = [word for file in files for word in ("--requirement", file)]
    argv = [sys.executable, *_PIP_AUDIT, "--require-hashes", "--disable-pip", "--vulnerability-service", service]
    done = subprocess.run([*argv, *wanted], capture_output=True, text=True, check=False)  # noqa: S603  no shell
    try:
        return read_answer(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):  # no connection ends it in a traceback
        return Answer()


def ask_all(files: Sequence[str]) -> Answer:
    """The first complete answer, or that of the service that knew most."""
    answers: list[Answer] = []
    for service in SERVICES:
        answers.append(ask(service, files))
        if answers[-1].code != UNASKED:
            break
    return max(answers, key=lambda answer: (bool(answer.found), len(answer.asked)))


def tell(answer: Answer) -> str:
    if answer.found:
        return "\n".join(["VULNERABLE:", *(f"  {line}" for line in answer.found)])
    if answer.code == CLEAN:
        return f"{len(answer.asked)} packages, no known vulnerability"
    missing = f" about {', '.join(answer.unasked)}" if answer.asked else ""
    return f"NOT AUDITED: none of {', '.join(SERVICES)} could be asked{missing}. This says nothing, good or bad."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--if-reachable", action="store_true", help="end well where nobody could be asked")
    wanted = parser.parse_args()
    answer = ask_all([str(file) for file in wanted.files])
    sys.stderr.write(f"{tell(answer)}\n")
    return CLEAN if wanted.if_reachable and answer.code == UNASKED else answer.code


if __name__ == "__main__":
    sys.exit(main())
