"""Processes that are to die at a point, and what their leases would have to wait for."""

import contextlib
import time
from collections.abc import Iterator

from sqlalchemy import text

from chaos.campaign import Run
from chaos.steps import Steps
from chaos.world import wait_for


def die(run: Run, kind: str, point: str, *words: str, passage: int = 1) -> None:
    """Start a process and wait until it has died at the point. Raise AssertionError if it ended otherwise."""
    name = run.world.start(kind, *words, PHOTABATCH_FAILPOINT=f"{point}:kill:{passage}")
    child = run.world.child(name)
    began = time.monotonic()
    wait_for(lambda: not child.is_alive, at_most_s=120)
    run.world.forget(name)
    run.inject(f"killed {point}")
    if child.returncode != -9:
        raise AssertionError(f"{kind} did not die at {point} in {time.monotonic() - began:.0f} s: {child.log_tail()}")


class DoomedApi:
    def __init__(self, run: Run, name: str, url: str) -> None:
        self._child, self.url = run.world.child(name), url

    def check(self) -> None:
        if not self._child.restarts:
            raise AssertionError("the API did not die")


@contextlib.contextmanager
def doomed_api(run: Run, point: str) -> Iterator[DoomedApi]:
    """Beside the good one; it is started again whenever it dies."""
    world = run.world
    port = world.stack.port(f"api-{point}", preferred=19950)
    name = world.start("api", "--port", str(port), PHOTABATCH_FAILPOINT=f"{point}:kill:2")
    run.inject(f"killed {point}")
    try:
        yield DoomedApi(run, name, f"http://127.0.0.1:{port}")
    finally:
        world.stack.stop_children(name)
        world.forget(name)


def hasten(run: Run, steps: Steps) -> None:
    """As if the leases of listings, or the time until a lost message is sent again, were over: after a kill."""
    steps.expire()
    with run.world.engine.begin() as connection:
        connection.execute(text("UPDATE schedule_runs SET claims = 0, due_at = now() WHERE state = 'listing'"))
