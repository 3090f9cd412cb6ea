"""What a mutant is, and the tests that notice many of them."""

from dataclasses import dataclass

MACHINE = "tests/unit/test_machine.py::test_walks_keep_every_promise"
MATCHES = (
    "tests/integration/test_machine_matches.py::test_hundreds_of_calls_leave_the_same_rows_in_postgres_and_in_memory"
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` occurs once in `file`, and becomes `new`; `promise`: what is broken then; `tests`: as pytest names them."""

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
