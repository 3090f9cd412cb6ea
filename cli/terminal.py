"""What people read goes to stderr, what programs read to stdout."""

import json
import logging
import sys
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str, *, style: str | None = None) -> None:
    console.print(message, style=style, markup=False)


def emit(value: dict[str, Any]) -> None:
    """One JSON object, one line, on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def log_to_stderr(level: int = logging.INFO) -> None:
    """For long-running processes: one line an event; on a terminal with colours."""
    handler: logging.Handler
    if sys.stderr.isatty():
        handler = RichHandler(console=console, show_path=False, markup=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("httpx", "botocore", "boto3", "urllib3", "celery.app.trace", "celery.worker.strategy", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
