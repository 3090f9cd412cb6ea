"""What a decoder's process takes, as the system counts it."""

import os
from pathlib import Path
from typing import NamedTuple

from clients.image_children import ImageChildren

_TICKS = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """`cpu_s`: of all its threads since it began. In MB: `peak_mb` since it was last forgotten, `mb` now."""

    pid: int
    cpu_s: float
    peak_mb: float
    mb: float


def pid_of(children: ImageChildren) -> int:
    """Of its only child."""
    return children._run_sync(_pid, b"")


def usage(pid: int) -> Usage:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}
    times = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return Usage(pid, sum(map(int, times)) / _TICKS, kilobytes["VmHWM"] / 1024, kilobytes["VmRSS"] / 1024)


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _pid(_: bytes) -> int:
    return os.getpid()
