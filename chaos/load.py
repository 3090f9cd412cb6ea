"""Work for a world under test: batches of all kinds, queued in one transaction each or over HTTP."""

import contextlib
import hashlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from chaos.world import BUCKET, World, wait_for
from models import DEFAULT_ACCOUNT, Priority
from models.inserts import BatchRef
from models.states import JobState
from producer.batches import close_batch, open_batch
from producer.submission import submit

_GROUP = 500  # jobs of a batch
_INPUT = "chaos/input.jpg"
_PHOTO = b"\xff\xd8\xff"
_OPEN = """
    SELECT count(*) FROM batches WHERE closes_at <= now() AND finished_at IS NULL
    AND NOT EXISTS (SELECT FROM jobs WHERE batch_id = batches.id AND finished_at IS NULL)
"""  # of which every job has ended, and which have not been told to have
_LOUD = tuple(f"job.{state}" for state in JobState if state.is_final and state is not JobState.SKIPPED)


@dataclass
class Load:
    """What a row of the matrix has asked for. `prefix`: how its batches' names begin."""

    world: World
    prefix: str
    accepted: int = 0  # jobs that are in for certain
    batches: list[BatchRef] = field(default_factory=list)
    _has_photo: bool = False
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def add(self, jobs: int, **batch: Any) -> list[BatchRef]:
        """Queue so many jobs, in batches of 500; every fifth batch tells of each job.

        One in ten is an `enhance`, another makes two pictures; no two prompts are the same.
        """
        made = [self._add_batch(min(_GROUP, jobs - start), **batch) for start in range(0, jobs, _GROUP)]
        self.batches += made
        return made

    def _add_batch(self, jobs: int, **batch: Any) -> BatchRef:
        number = next(self._numbers)
        if number % 5 == 1:
            batch |= {"webhook_url": self.world.each_url, "webhook_events": _LOUD}
        priority = batch.pop("priority", Priority(number % 3))
        with self.world.engine.begin() as connection:
            made = open_batch(connection, f"{self.prefix}{number}", priority=priority, **batch)
            work = [self._job(n, made.name) for n in range(jobs)]
            submit(work, batch=made, session=connection, account_id=batch.get("account_id", DEFAULT_ACCOUNT))
            close_batch(connection, made)
        self.accepted += jobs
        return made

    def _job(self, number: int, batch: str) -> dict[str, Any]:
        if number % 10 == 0:
            return {"custom_id": str(number), "operation": "enhance", "params": {"image": self._photo()}}
        params = {"prompt": f"a boat, number {number} of {batch}", "num_output_images": 2 if number % 10 == 1 else 1}
        return {"custom_id": str(number), "operation": "generate", "params": params}

    def _photo(self) -> str:
        """An object that stands for any photo: the simulator does not look at it."""
        if not self._has_photo:
            sha256 = hashlib.sha256(_PHOTO).hexdigest()
            self.world.storage.put(BUCKET, _INPUT, _PHOTO, content_type="image/jpeg", sha256_hex=sha256)
            self._has_photo = True
        return f"s3://{BUCKET}/{_INPUT}"

    def add_over_http(self, jobs: int, *, key: str, at_most_s: float = 120.0) -> None:
        """Post one batch with an Idempotency-Key, again and again until the answer is 2xx, as a careful client does."""
        lines = [
            {"custom_id": str(n), "operation": "generate", "params": {"prompt": f"{key} {n}"}} for n in range(jobs)
        ]
        body = {"name": f"{self.prefix}http-{next(self._numbers)}", "jobs": lines}
        deadline = time.monotonic() + at_most_s
        headers = {"Authorization": f"Bearer {self.world.api_key}", "Idempotency-Key": key}
        while True:
            try:
                answer = httpx.post(
                    f"{self.world.api_url}/v1/batches", json=body, headers=headers, timeout=30, trust_env=False
                )
                if answer.is_success:
                    self.accepted += jobs
                    return
                if answer.status_code < 500 and answer.status_code not in (409, 429):
                    raise AssertionError(f"{answer.status_code}: {answer.text}")
            except httpx.HTTPError:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError("the API took no batch")
            time.sleep(0.2)

    def drain(self, *, within_s: float = 300.0) -> float:
        """Until every job has ended and every event is delivered, or the time is over; the seconds that took."""
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):  # what is left is for the oracle to count
            wait_for(self._is_done, every_s=0.25, at_most_s=within_s)
        return time.monotonic() - began

    def _is_done(self) -> bool:
        self.world.keep_up()
        if self.world.unfinished() or self.world.ask(_OPEN):
            return False
        self.world.hasten_events()
        return self.world.is_told()
