"""Ends the children of a supervisor that died without stopping them.

Why a pipe and not PR_SET_PDEATHSIG: that signal fires when the *thread* that forked dies, needs preexec_fn (unsafe
with threads), spares grandchildren, and exists on Linux only. The read end of a pipe sees the death of its writer,
however it died, on every Unix. This process also holds the lock of the home, so the home stays taken until all is gone.

Runs as a script, on the standard library alone, to be up in some 15 ms and to keep below 10 MB.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

GRACE_SECONDS = 10.0
POLL_SECONDS = 0.05


class Watched(TypedDict):
    """A process group to end: its leader, how to ask it to stop, the files that it may leave lying about."""

    pid: int
    stop_signal: int
    litter: list[str]


def signal_group(pid: int, number: int) -> bool:
    """Send to the process group led by `pid`; 0 only asks. False if nobody is left in it."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def follow(lines: Iterable[str]) -> list[Watched]:
    """Read groups to watch, and bare pids to forget, as JSON until the writer is gone; return what is left."""
    watched: dict[int, Watched] = {}
    for line in lines:
        order: Watched | int = json.loads(line)
        if isinstance(order, int):
            watched.pop(order, None)
        else:
            watched[order["pid"]] = order
    return list(watched.values())


def end(watched: list[Watched]) -> None:
    """Ask the groups to stop, the youngest first; after ten seconds kill what is left; remove their litter."""
    for group in reversed(watched):
        signal_group(group["pid"], group["stop_signal"])
    deadline = time.monotonic() + GRACE_SECONDS
    while any(signal_group(group["pid"], 0) for group in watched) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for group in watched:
        signal_group(group["pid"], signal.SIGKILL)
        remove(group["litter"])


def remove(paths: Iterable[str]) -> None:
    """Files, and sockets on which nobody listens: another stack may have taken the ports that their names tell."""
    for path in map(Path, paths):
        with contextlib.suppress(OSError):
            if not (path.is_socket() and _is_answered(path)):
                path.unlink(missing_ok=True)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def main() -> None:
    """Take the path of stack.json as the only argument, the orders on stdin."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched = follow(sys.stdin)
    remove(sys.argv[1:])
    end(watched)


if __name__ == "__main__":
    main()
