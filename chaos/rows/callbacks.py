"""Phota's callbacks are lost, forged, replayed or lie."""

import hashlib
import hmac
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import httpx
from sqlalchemy import text

from chaos.campaign import Run, row
from chaos.outcomes import seconds_until
from chaos.watch import warm_up
from chaos.world import wait_for
from producer.callbacks import SIGNATURE_HEADER
from settings import CALLBACK_PATH


@row("12f", "callbacks of Phota lost: nobody listens", short=(80, 1), long=(1200, 3))
def callbacks_lost(run: Run) -> None:
    """The API is down; jobs end by polling alone."""
    warm_up(run)
    for _ in range(run.size.rounds):
        with _api_down(run):
            run.load.add(run.size.jobs // run.size.rounds)
            took_s = seconds_until(lambda: run.world.keep_up() or not run.world.unfinished(), at_most_s=run.drain_s)
            run.notes.append(f"{run.size.jobs // run.size.rounds} jobs by polling alone in {took_s:.1f} s")


@contextmanager
def _api_down(run: Run) -> Iterator[None]:
    child = run.world.child(run.world.alive("api")[0])
    child.should_restart = False
    os.killpg(child.pid, signal.SIGKILL)
    run.inject("API killed")
    try:
        yield
    finally:
        child.should_restart = True
        wait_for(lambda: _is_up(run.world.api_url), at_most_s=60)


def _is_up(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    return False


@row("12g", "callbacks forged, replayed, or lying", short=(80, 1), long=(800, 4))
def callbacks_forged(run: Run) -> None:
    """What is not signed is refused; what is signed may say what it likes: jobs are asked for, not believed."""
    warm_up(run)
    for _ in range(run.size.rounds):
        with run.behaviour(faults=[{"match": "poll", "fault": "500", "rate": 0.3}]):  # so that jobs stay a while
            run.load.add(run.size.jobs // run.size.rounds)
            deadline = time.monotonic() + 6
            while run.world.unfinished() and time.monotonic() < deadline:
                for job_id in _remote_ids(run):
                    _forge(run, job_id)


def _remote_ids(run: Run) -> Sequence[str]:
    with run.world.engine.connect() as connection:
        statement = "SELECT remote_job_id FROM jobs WHERE state = 'running' AND remote_job_id IS NOT NULL LIMIT 4"
        return connection.execute(text(statement)).scalars().all()


def _forge(run: Run, job_id: str) -> None:
    """Raise AssertionError if one that is not signed is taken."""
    secret = run.world.phota.get("/v1/phota/webhook-secret", headers={"X-API-Key": "any"}).json()["secret"]
    lies = {
        "failed": {"job_id": job_id, "status": "failed", "error": {"code": "LIE", "detail": "lie"}},
        "succeeded with a picture of theirs": {
            "job_id": job_id, "status": "succeeded", "result": {"download_urls": ["http://127.0.0.1:1/theirs.jpg"]},
        },
        "of an unknown job": {"job_id": "unknown", "status": "succeeded"},
    }  # fmt: skip
    for name, told in lies.items():
        body = json.dumps(told).encode()
        signed = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        for signature in ("", "0" * 64, hmac.new(b"another", body, hashlib.sha256).hexdigest()):
            status = _call_back(run, body, signature)
            if status < 400:
                raise AssertionError(f"a forged callback was answered {status}")
            run.inject("callback forged")
        for _ in range(3):
            _call_back(run, body, signed)
            run.inject(f"signed callback, {name}")


def _call_back(run: Run, body: bytes, signature: str) -> int:
    headers = {SIGNATURE_HEADER: signature, "Content-Type": "application/json"}
    url = f"{run.world.api_url}{CALLBACK_PATH}"
    return httpx.post(url, content=body, headers=headers, timeout=30, trust_env=False).status_code
