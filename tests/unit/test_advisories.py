"""What `make audit` makes of pip-audit's answers: not asked is neither good nor bad."""

from typing import Any

from tools.advisories import CLEAN, FOUND, UNASKED, Answer, read_answer, tell

GOOD = {"name": "celery", "version": "5.7.0", "vulns": []}
UNKNOWN = {"name": "kombu", "skip_reason": "Dependency not found on PyPI and could not be audited: kombu (5.7.0)"}
BAD: dict[str, Any] = {
    "name": "pillow",
    "version": "9.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-2"], "fix_versions": ["9.1"], "description": "…"}],
}


def test_all_asked_and_nothing_found_is_clean() -> None:
    answer = read_answer([GOOD])
    assert answer.code == CLEAN
    assert tell(answer) == "1 packages, no known vulnerability"


def test_a_vulnerability_is_told_with_what_mends_it() -> None:
    answer = read_answer([GOOD, UNKNOWN, BAD])
    assert answer.code == FOUND
    assert "pillow 9.0: PYSEC-1, CVE-2; mended in 9.1" in tell(answer)


def test_a_package_that_nobody_knows_is_not_clean() -> None:
    answer = read_answer([GOOD, UNKNOWN])
    assert answer.code == UNASKED
    assert "NOT AUDITED" in tell(answer)
    assert "kombu" in tell(answer)


def test_no_answer_at_all_is_not_clean() -> None:
    assert Answer().code == UNASKED
    assert "says nothing, good or bad" in tell(Answer())
