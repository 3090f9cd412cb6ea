"""What people read goes to stderr, what programs read to stdout."""

import json
import logging
import sys
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from clients.log_lines import PlainLines, log_as_json, log_to

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str, *, style: str | None = None) -> None:
    console.print(message, style=style, markup=False)


def emit(value: dict[str, Any]) -> None:
    """One JSON object, one line, on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def log_to_stderr(level: int = logging.INFO) -> None:
    """For long-running processes: a JSON object a line; on a terminal text with colours."""
    if not sys.stderr.isatty():
        return log_as_json(level)
    handler = RichHandler(console=console, show_path=False, markup=False)
    handler.setFormatter(PlainLines())
    return log_to(handler, level=level)
