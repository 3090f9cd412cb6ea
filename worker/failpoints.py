"""Named points between two effects where a test can make a process die or an error appear.

`PHOTABATCH_FAILPOINT=after_submit:kill` ends the process there with SIGKILL; `:error` raises instead. With a number,
`after_submit:kill:3`, it happens at the third passage. Without the variable a point costs one comparison.
"""

import itertools
import os
import signal

POINTS = (
    "before_submit",
    "after_submit",  # Phota has answered, nothing is written yet
    "in_poll",
    "after_download",
    "after_upload",  # the object is in the bucket, nothing is written yet
    "after_commit",  # written, the message not yet acknowledged
    "in_delivery",  # the receiver has answered, nothing is written yet
)

_passages = itertools.count(1)


class InjectedError(RuntimeError):
    """What `:error` raises."""


def pass_point(name: str, failpoint: str | None) -> None:
    """Do what `failpoint` asks for at `name`."""
    if failpoint is None or not failpoint.startswith(f"{name}:"):
        return
    _, action, *passage = failpoint.split(":")
    if passage and next(_passages) != int(passage[0]):
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise InjectedError(f"fault injected at {name}")
