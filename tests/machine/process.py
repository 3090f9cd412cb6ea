"""A worker process: the real chunks, recorder, leases and stages, on clients whose effects have to be let happen."""

import asyncio
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import TextClause

from clients.images import BadImage, ImageInfo
from clients.phota import Handle, Results, Waiting
from clients.phota_requests import Params, outputs
from models.claims import Move, record
from models.health import UpstreamState
from models.states import Stage
from tests.machine.bucket import Bucket
from tests.machine.connection import MemoryConnection, Result
from tests.machine.loop import StepLoop
from tests.machine.phota import DAMAGED, Phota
from worker.chunks import Chunks
from worker.kit import Kit
from worker.leases import Leases
from worker.recorder import Recorder

_MICROSECOND = 1e-6
_PICTURE = ImageInfo("JPEG", "image/jpeg", "jpg", 1, 1, 1)


class ProcessDied(Exception):  # noqa: N818 - what happened
    """What a call of a dead process comes to."""


@dataclass(slots=True, eq=False)
class Effect:
    """One call out of a process, from its asking to the answer. `run` does it; `answer`: what then came of it."""

    process: "Process"
    kind: str  # db, submit, call, poll, download, put, get
    run: Callable[[], Any]
    future: "asyncio.Future[Any]"
    is_done: bool = False
    answer: Any = None
    error: Exception | None = None

    def happen(self) -> None:
        """On the other side; once."""
        if not self.is_done:
            self.is_done = True
            try:
                self.answer = self.run()
            except (AssertionError, KeyError, AttributeError, TypeError):
                raise  # a fault of the machine, not one it plays
            except Exception as error:
                self.error = error

    def tell(self, error: Exception | None = None) -> None:
        """The process gets the answer, or `error` in its place, and goes on until it waits for something else."""
        self.process.effects.remove(self)
        error = error or self.error
        if self.future.done():
            return
        if error is None:
            self.future.set_result(self.answer)
        else:
            self.future.set_exception(error)
        self.process.loop.run()


@dataclass(slots=True, eq=False)
class DatabaseCall:
    """A statement with its commit. `error`: what is raised in place of the answer to the COMMIT."""

    worker: int
    database: MemoryConnection
    statement: TextClause
    values: Any
    error: Exception | None = None

    def __call__(self) -> Result:
        self.database.table.now += _MICROSECOND  # no two transactions begin at the same moment
        return self.database.execute_for(self.worker, self.statement, self.values)

    def in_vain(self) -> Result:
        return self.database.execute_in_vain(self.statement, self.values)


@dataclass(frozen=True, slots=True)
class Outside:
    """What all processes share."""

    database: MemoryConnection
    phota: Phota
    bucket: Bucket
    is_sync: bool
    is_inline: bool  # synchronous answers bring the pictures themselves


class Process:
    def __init__(self, number: int, outside: Outside, seed: int) -> None:
        self.number = number
        self.outside = outside
        self.effects: list[Effect] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.is_stopping = self.is_dead = False
        self.closed_for_s = 0.0  # what it believes of the gate
        self.loop = StepLoop(self._thread)  # type: ignore[abstract]
        engine: Any = _Engine(self)
        client: Any = _Client(self)
        storage: Any = outside.bucket
        nothing: Any = None
        self._kit = Kit(
            phota=client,
            storage=storage,
            webhooks=nothing,
            inspector=client,
            sightings=_Sightings(self),  # type: ignore[arg-type]
            is_sync=outside.is_sync,
            spare_bucket="spare",
            sends_links=False,
            random_source=random.Random(seed),
        )
        leases = Leases(engine)
        self._chunks = Chunks(engine, self._kit, Recorder[Move](engine, record), leases)
        self._heartbeat = self.loop.create_task(leases.run())
        self.loop.run()

    def work(self, stage: Stage, ids: Sequence[uuid.UUID]) -> None:
        """A message has come."""
        task = self.loop.create_task(self._chunks.work(stage, ids))
        task.add_done_callback(_looked_at)
        self.tasks = [each for each in self.tasks if not each.done()] + [task]
        self.loop.run()

    def stop(self) -> None:
        """SIGTERM, as worker/runtime.py takes it."""
        self.is_stopping = True
        if not self.outside.is_sync:
            for task in self.tasks:
                task.cancel()
            self.loop.run()

    def die(self) -> list[Effect]:
        """What was on its way out, and may yet arrive. Nothing that the process does from now on reaches anybody."""
        self.is_dead = True
        sent, self.effects = self.effects, []
        self._heartbeat.cancel()
        for effect in sent:
            if not effect.future.done():
                _resolve(effect.kind, effect.future)
        self.loop.run()
        while self.loop.fire():
            pass
        return [effect for effect in sent if not effect.is_done]

    @property
    def is_idle(self) -> bool:
        return not self.effects and all(task.done() for task in self.tasks)

    def ask(self, kind: str, run: Callable[[], Any]) -> "asyncio.Future[Any]":
        future = self.loop.create_future()
        if self.is_dead:
            _resolve(kind, future)
        else:
            self.effects.append(Effect(self, kind, run, future))
        return future

    def _thread(self, func: Any) -> "asyncio.Future[Any]":
        """`func`: as `asyncio.to_thread` makes it, functools.partial(context.run, called, …)."""
        called: Any = func.args[0]
        name = getattr(called, "__name__", "_put")  # a partial has none
        if name in ("_put", "get"):
            return self.ask(name.strip("_"), func)
        future = self.loop.create_future()
        future.set_result(func())
        return future


def _looked_at(task: "asyncio.Task[None]") -> None:
    """A message whose work raised is done with, as Celery has it."""
    if not task.cancelled():
        task.exception()


def _resolve(kind: str, future: "asyncio.Future[Any]") -> None:
    """The answer that a dead process gets: whatever lets it come to its end."""
    if kind == "db":
        future.set_result(Result([]))
    else:
        future.set_exception(ProcessDied())


class _Engine:
    """As much of an AsyncEngine as workers use."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def begin(self) -> "_Transaction":
        return _Transaction(self._process)


class _Transaction:
    """One statement each: what it finds is known before it is known whether the COMMIT took."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._error: Exception | None = None

    async def __aenter__(self) -> "_Transaction":
        return self

    async def __aexit__(self, _kind: object, error: object, _trace: object) -> None:
        if error is None and self._error is not None:
            raise self._error

    async def execute(self, statement: TextClause, values: Any) -> Result:
        process = self._process
        call = DatabaseCall(process.number, process.outside.database, statement, values)
        result: Result = await process.ask("db", call)
        self._error = call.error
        return result

    async def scalar(self, statement: TextClause, values: Any) -> Any:
        return (await self.execute(statement, values)).scalar()


class _Client:
    """Phota's client and the inspector of pictures."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._outside = process.outside

    async def submit(self, params: Params, *, client_request_id: str, **_more: object) -> Handle:
        phota, count = self._outside.phota, outputs(params)
        handle: Handle = await self._process.ask("submit", lambda: phota.submit(client_request_id, count))
        return handle

    async def call(self, params: Params, *, client_request_id: str, **_more: object) -> Results:
        phota, count, is_inline = self._outside.phota, outputs(params), self._outside.is_inline
        results: Results = await self._process.ask(
            "call", lambda: phota.call(client_request_id, count, is_inline=is_inline)
        )
        return results

    async def job(self, poll_url: str, **_more: object) -> Waiting | Results:
        answer: Waiting | Results = await self._process.ask("poll", lambda: self._outside.phota.poll(poll_url))
        return answer

    async def download(self, url: str, **_more: object) -> bytes:
        data: bytes = await self._process.ask("download", lambda: self._outside.phota.download(url))
        return data

    async def inspect(self, data: bytes) -> ImageInfo:
        if data == DAMAGED:
            raise BadImage("truncated_image", "half of it")
        return _PICTURE


class _Sightings:
    """What this process believes of the gate; what it reports goes nowhere."""

    upstream = UpstreamState(closed_reason="no_credit")

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def closed_for_s(self) -> float:
        return self._process.closed_for_s

    def likely_at_s(self, _operation: str) -> float:
        return 2.0

    def ok(self, *_seen: object, **_more: object) -> None:
        """Also what else it may be told."""

    failed = throttled = refused = looked = nudge = ok
