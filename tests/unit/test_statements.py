"""Why ruff's S608 may be passed over in `models`: no statement is put together while a value is at hand."""

import ast
from collections.abc import Iterator
from pathlib import Path

MODELS = Path(__file__).parents[2] / "models"
# With whole numbers that are typed so, or constants: a setting takes no bound values.
NUMBERS = {("engine.py", "wait_at_most"), ("gauges.py", "read_gauges")}


def put_together(function: ast.AST) -> Iterator[ast.AST]:
    """Calls of `text` in a function whose argument is more than a constant or a name."""
    for node in ast.walk(function):
        is_text = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "text"
        if is_text and not isinstance(node.args[0], ast.Constant | ast.Name):
            yield node


def test_statements_are_put_together_when_the_module_is_read() -> None:
    found = {
        (path.name, function.name)
        for path in MODELS.glob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and any(put_together(function))
    }
    assert found <= NUMBERS
