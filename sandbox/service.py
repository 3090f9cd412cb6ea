"""What the three embedded servers have in common."""

import os
from collections.abc import Mapping
from typing import Protocol

from sandbox.process import Command


class Service(Protocol):
    """One server of the stack."""

    @property
    def name(self) -> str: ...

    def command(self) -> Command:
        """Prepare the data folder, choose free ports, and say how to start. Raise StackError if that cannot be."""

    def is_ready(self) -> bool:
        """Whether it does real work for us; sets up what its users expect in it."""

    def environment(self) -> dict[str, str]:
        """Variables under which photabatch finds it."""


def bare_environment(**extra: str) -> Mapping[str, str]:
    """For servers: nothing of the caller's environment (PGDATA, WEED_…, AWS_…) may change what they do."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", **extra}
