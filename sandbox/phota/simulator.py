"""One simulated account: takes orders, works on them, charges for what it delivers."""

import asyncio
import hashlib
import json
import logging
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx

from sandbox.phota import callbacks, inputs, render
from sandbox.phota.config import Behaviour, SimulatorConfig
from sandbox.phota.errors import PhotaError
from sandbox.phota.faults import Faults
from sandbox.phota.filler import filler, stamped
from sandbox.phota.jobs import Job, JobBook
from sandbox.phota.latency import Latency
from sandbox.phota.ledger import Charge, Ledger
from sandbox.phota.links import Links
from sandbox.phota.prices import PROFILE, estimate, price
from sandbox.phota.profiles import NewProfile, Profile, Profiles
from sandbox.phota.requests import Order
from sandbox.phota.store import Store

_log = logging.getLogger(__name__)


class Simulator:
    """Its parts may be read by the routes; only its methods change them."""

    def __init__(self, config: SimulatorConfig, client: httpx.AsyncClient) -> None:
        self.webhook_secret = hashlib.sha256(f"webhook {config.seed}".encode()).hexdigest()
        self.links = Links(self.webhook_secret.encode())
        self.store = Store(config.data)
        self._start, self._client = config, client
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "render")
        self._tasks: set[asyncio.Task[None]] = set()
        self._begin()
        self._restore()

    def _begin(self) -> None:
        self.config = self._start
        self.chance = random.Random(self._start.seed)  # noqa: S311 - chance, not secrets
        self.ledger, self.jobs, self.profiles = Ledger(), JobBook(), Profiles(self._start.profiles)
        self._latency = Latency.parse(self.config.latency)
        self.faults = Faults(self.config.faults, self.chance)
        self._set_credit(self.config.credit)

    def _set_credit(self, usd: float | None) -> None:
        self.ledger.balance = None if usd is None else round(usd * 100)

    def configure(self, patch: dict[str, Any]) -> None:
        """Raise pydantic.ValidationError. Naming `credit` sets the balance, `faults` starts their counts."""
        Behaviour.model_validate(patch)
        self.config = SimulatorConfig.model_validate(self.config.model_dump() | patch)
        self._latency = Latency.parse(self.config.latency)
        if "faults" in patch:
            self.faults = Faults(self.config.faults, self.chance)
        if "credit" in patch:
            self._set_credit(self.config.credit)
            self.store.record("credit", {"usd": self.config.credit})

    def reset(self) -> None:
        """As freshly started: no jobs, no charges, the first configuration."""
        for task in self._tasks:
            task.cancel()
        self.store.clear()
        self._begin()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.shutdown(cancel_futures=True)

    # -- taking orders

    def submit(self, order: Order, *, base_url: str) -> Job:
        """The order's job, an earlier one if it is a repetition; raise PhotaError 400, 402, 404, 409, 429, 503."""
        fingerprint = order.fingerprint
        oldest = time.time() - self.config.remember_s
        if repeated := self.jobs.repeat_of(order, fingerprint=fingerprint, oldest=oldest):
            return repeated
        self._check(order)
        job = Job(order, fingerprint, base_url)
        self.ledger.reserve(job.id, estimate(order))
        self.jobs.add(job)
        if self.store.is_lasting:
            self.store.put(f"{job.id}.sources", json.dumps(order.sources).encode())
            self.store.record("job", job.record())
        self._spawn(job)
        return job

    def _check(self, order: Order) -> None:
        if any(word.lower() in order.prompt.lower() for word in self.config.moderation):
            raise PhotaError(400, "CONTENT_MODERATION", "the prompt was blocked by content moderation")
        self.profiles.check_usable(order.profiles)
        if self.config.size is None:
            for source in order.sources:
                inputs.check(source)
        if self.config.limit is not None and len(self.ledger.reserved) >= self.config.limit:
            self.ledger.throttled += 1
            wait = self.config.retry_after_s
            headers = None if wait is None else {"Retry-After": str(wait)}
            raise PhotaError(
                self.config.limit_status, "TOO_MANY_REQUESTS", "too many requests at once", headers=headers
            )

    def train(self, new: NewProfile) -> Profile:
        """Charge for a profile and start its training; raise PhotaError 402."""
        cents = PROFILE[new.training_tier]
        self.ledger.afford(cents)
        profile = Profile(ready_at=time.time() + self.config.training_s, tag=new.tag)
        self.profiles.add(profile)
        charge = Charge(profile.id, None, "profile", 1, cents, profile.started_at)
        self.ledger.settle(charge)
        self.store.record("profile", {"profile": profile.record(), "cents": cents})
        return profile

    def forget(self, profile_id: str) -> None:
        """Raise PhotaError 404."""
        self.profiles.remove(profile_id)
        self.store.record("forget", {"id": profile_id})

    # -- working on them

    def _spawn(self, job: Job) -> None:
        task = asyncio.get_running_loop().create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, job: Job) -> None:
        job.status = "running"
        try:
            await self._work(job)
        except PhotaError as error:
            self.fail(job, error)
        except Exception:
            _log.exception("job %s", job.id)
            self.fail(job, PhotaError(500, "INTERNAL_ERROR", "internal error"))
        else:
            self._succeed(job)
        if job.order.callback_url:
            body = json.dumps(self.describe(job, base_url=job.base_url)).encode()
            await callbacks.deliver(self._client, job.order.callback_url, body, secret=self.webhook_secret)

    async def _work(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._latency.sample(self.chance)
        if self.config.size is None:
            pictures = [await inputs.load(source, self._client) for source in job.order.sources]
            outputs = await loop.run_in_executor(self._pool, render.render, job.order, pictures)
            for index, data in enumerate(outputs):
                self.store.put(job.blob(index), data)
        await asyncio.sleep(ends_at - loop.time())
        if rule := self.faults.pick("job"):
            self.ledger.faults[f"job {rule.code}"] += 1
            raise PhotaError(500, rule.code, "the job failed, as it was told to")

    def _succeed(self, job: Job) -> None:
        if job.status != "running":
            return
        shown = [[name for name in job.order.profiles if self.chance.random() < self.config.recognition]
                 for _ in range(job.order.count)]  # fmt: skip
        for name in (name for names in shown for name in names):
            job.counts[name] = job.counts.get(name, 0) + 1
        job.cents = price(job.order, with_identity=sum(map(bool, shown)))
        self._end(job, "succeeded")

    def fail(self, job: Job, error: PhotaError) -> None:
        """End a job without a charge; nothing happens to one that has ended."""
        if job.status == "running":
            job.error = error.body(job.id)
            job.error_status = error.status
            self._end(job, "failed")

    def _end(self, job: Job, status: str) -> None:
        job.end(status, at=time.time())
        fields = {
            name: getattr(job, name) for name in ("status", "error", "error_status", "counts", "cents", "finished_at")
        }
        self.store.record("end", {"id": job.id} | fields)
        self.store.drop(f"{job.id}.sources")
        self._book(job)

    def _book(self, job: Job) -> None:
        if job.status == "failed":
            self.ledger.release(job.id)
            return
        order = job.order
        at = job.finished_at or 0.0
        self.ledger.settle(Charge(job.id, order.client_request_id, order.operation, order.count, job.cents, at))

    # -- telling of them

    def picture(self, blob: str) -> bytes:
        """Raise KeyError."""
        if self.config.size is not None:
            return stamped(filler(self.config.size, blob.rpartition(".")[2]), blob)
        return self.store.get(blob)

    def result(self, job: Job, *, base_url: str) -> dict[str, Any]:
        """Of a succeeded job: `known_subjects`, and fresh `download_urls` under the given root."""
        blobs = [job.blob(index) for index in range(job.order.count)]
        urls = [base_url + self.links.make(blob, ttl_s=self.config.url_ttl_s) for blob in blobs]
        return {"known_subjects": {"counts": job.counts}, "images": [], "download_urls": urls}

    def describe(self, job: Job, *, base_url: str) -> dict[str, Any]:
        """As a poll and a callback show it."""
        result = self.result(job, base_url=base_url) if job.status == "succeeded" else None
        return {"job_id": job.id, "status": job.status, "result": result, "error": job.error}

    # -- coming back

    def _restore(self) -> None:
        for record in list(self.store.records()):
            self._replay(record.pop("kind"), record)
        for job in self.jobs:
            if job.status == "queued":
                self.ledger.reserved[job.id] = estimate(job.order)
                job.order = replace(job.order, sources=tuple(json.loads(self.store.get(f"{job.id}.sources"))))
                self._spawn(job)

    def _replay(self, kind: str, record: dict[str, Any]) -> None:
        if kind == "job":
            self.jobs.add(Job.restore(record))
        elif kind == "end":
            job = self.jobs.get(record.pop("id"))
            for name, value in record.items():
                setattr(job, name, value)
            job.done.set()
            self._book(job)
        elif kind == "profile":
            profile = Profile(**record["profile"])
            self.profiles.add(profile)
            self.ledger.settle(Charge(profile.id, None, "profile", 1, record["cents"], profile.started_at))
        elif kind == "forget":
            self.profiles.remove(record["id"])
        elif kind == "credit":
            self._set_credit(record["usd"])
