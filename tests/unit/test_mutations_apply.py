"""The list of mutants keeps up with the code: a text that is gone, or a test that is renamed, would prove nothing."""

import ast
from pathlib import Path

import pytest

from chaos.mutants import MUTANTS, Mutant

_ROOT = Path(__file__).parents[2]
_NAMED = pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])


def functions(file: str) -> set[str]:
    return {node.name for node in ast.walk(ast.parse((_ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)}


@_NAMED
def test_its_text_is_in_its_file_once(mutant: Mutant) -> None:
    assert (_ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old


@_NAMED
def test_what_it_makes_of_its_file_can_be_read(mutant: Mutant) -> None:
    ast.parse((_ROOT / mutant.file).read_text().replace(mutant.old, mutant.new))


@_NAMED
def test_the_tests_that_notice_it_are_there(mutant: Mutant) -> None:
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert name in functions(file), test


def test_names_are_told_apart() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
