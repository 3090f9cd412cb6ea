"""The data folder of a stack: its lock, its secrets, and where it runs."""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sandbox.errors import AlreadyRunning

CONTEST_SECONDS = 0.5
"""A reader of `read_running` holds the lock for an instant; that is no running stack."""
LEAVING_SECONDS = 25.0
"""The longest a stack whose supervisor died takes to end its children."""


class Home:
    """Paths below the folder, all of it for its owner only."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.logs = self.path / "logs"
        self.stack_file = self.path / "stack.json"
        self.lock_file = self.path / "lock"
        self.ports_file = self.path / "ports.json"

    def create(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)
        (self.path / ".gitignore").write_text("*\n")

    def secrets(self, *names: str) -> dict[str, str]:
        """Each 192 random bits in hexadecimal, made once and kept in secrets.json."""
        path = self.path / "secrets.json"
        kept: dict[str, str] = read_json(path) or {}
        missing = [name for name in names if name not in kept]
        if missing:
            kept |= {name: secrets.token_hex(24) for name in missing}
            write_private(path, json.dumps(kept, indent=2))
        return {name: kept[name] for name in names}

    def lock(self) -> int:
        """Take the folder; return the open file that holds it. Raise AlreadyRunning if another process has it."""
        fd = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        began = time.monotonic()
        while not _try_lock(fd, fcntl.LOCK_EX):
            running = read_json(self.stack_file)
            if time.monotonic() - began > (LEAVING_SECONDS if running is None else CONTEST_SECONDS):
                os.close(fd)
                raise AlreadyRunning(self._taken(running))
            time.sleep(0.02)
        return fd

    def publish(self, environment: Mapping[str, str]) -> None:
        """Tell other processes; an empty environment means: starting."""
        write_private(self.stack_file, json.dumps({"pid": os.getpid(), "environment": dict(environment)}, indent=2))

    def _taken(self, running: dict[str, Any] | None) -> str:
        where = f" (process {running['pid']})" if running else ""
        return (
            f"photabatch runs on {self.path} already{where}. "
            "Stop it first, or set PHOTABATCH_HOME to another folder for a second one."
        )


def read_running(home: Path) -> dict[str, Any] | None:
    """What a running stack published: {"pid": int, "environment": {name: value}}; None if none is up on `home`."""
    folder = Home(home)
    with _opened(folder.lock_file) as fd:
        if fd is None or _try_lock(fd, fcntl.LOCK_SH):
            return None
    running = read_json(folder.stack_file)
    return running if running and running["environment"] else None


def read_json(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content


def write_private(path: Path, text: str) -> None:
    """Replace the file at once and for good, readable by its owner only."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as sink:
        sink.write(text)
        sink.flush()
        os.fsync(sink.fileno())
    draft.replace(path)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        fd = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
