"""Whether this process answers, and whether what it stands on does."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from kombu import Connection as Broker
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from clients.storage import Storage
from models.gauges import probe
from settings import Settings

log = logging.getLogger(__name__)
router = APIRouter(tags=["operation"])

LIMIT_S = 2.0  # what has not answered by then is as good as away
FRESH_S = 2.0  # however often it is asked, the services are asked no more often than this
_NOTHING = "photabatch-readiness"  # a key that need not be there


class Health(BaseModel):
    """The process answers; nothing else is said."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok"}})

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """`ok`; `degraded`: jobs are taken, but something else is away; `unavailable`: the database is away."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"status": "degraded", "database": "ok", "storage": "unreachable", "broker": "ok"},
        }
    )

    status: Literal["ok", "degraded", "unavailable"]
    database: str = Field(description="`ok`, or what is wrong")
    storage: str = Field(description="`ok`, or what is wrong")
    broker: str = Field(description="`ok`, or what is wrong; the dispatcher needs it, the API does not")

    @property
    def is_ready(self) -> bool:
        return self.database == "ok"


class Services:
    """What the API stands on, asked at most every `FRESH_S`, each by one thread at a time."""

    def __init__(self, engine: Engine, storage: Storage, settings: Settings) -> None:
        self._checks: dict[str, Callable[[], str]] = {
            "database": lambda: _database(engine),
            "storage": lambda: _storage(storage, settings.s3_bucket),
            "broker": lambda: _broker(settings),
        }
        self._running: dict[str, asyncio.Future[str]] = {}
        self._found: Readiness | None = None
        self._found_at = 0.0
        self._lock = asyncio.Lock()

    async def look(self) -> Readiness:
        """Within `LIMIT_S`, however the services behave."""
        async with self._lock:
            if self._found is None or time.monotonic() - self._found_at > FRESH_S:
                told = dict(zip(self._checks, await asyncio.gather(*map(self._ask, self._checks)), strict=True))
                self._found = Readiness(status=_status(told), **told)
                self._found_at = time.monotonic()
            return self._found

    async def _ask(self, name: str) -> str:
        """One that hangs goes on by itself; the next look waits for the same one."""
        if name not in self._running:
            self._running[name] = _begin(name, self._checks[name])
        done, _ = await asyncio.wait({self._running[name]}, timeout=LIMIT_S)
        return self._running.pop(name).result() if done else f"no answer within {LIMIT_S:.0f} s"


def _begin(name: str, check: Callable[[], str]) -> asyncio.Future[str]:
    """In a thread that nobody waits for when the process ends: the storage may hang for minutes."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def run() -> None:
        try:
            told = check()
        except Exception as error:
            log.warning("%s: %s: %s", name, type(error).__name__, str(error).partition("\n")[0])
            told = "unreachable"
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(answer.set_result, told)

    threading.Thread(target=run, name=f"readiness-{name}", daemon=True).start()
    return answer


def _status(told: dict[str, str]) -> Literal["ok", "degraded", "unavailable"]:
    if told["database"] != "ok":
        return "unavailable"
    return "ok" if all(word == "ok" for word in told.values()) else "degraded"


def _database(engine: Engine) -> str:
    with engine.connect() as connection:
        try:
            probe(connection)
        except ProgrammingError:
            return "has no tables: `photabatch migrate`"
    return "ok"


def _storage(storage: Storage, bucket: str) -> str:
    storage.head(bucket, _NOTHING)
    return "ok"


def _broker(settings: Settings) -> str:
    if settings.broker_url is None:
        return "not named"
    options = {"socket_connect_timeout": LIMIT_S, "socket_timeout": LIMIT_S}
    url = settings.broker_url.get_secret_value()
    with Broker(url, connect_timeout=LIMIT_S, transport_options=options) as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=int(LIMIT_S))
    return "ok"


@router.get("/healthz", summary="Whether the process answers")
async def read_health() -> Health:
    """For a liveness check: it asks nothing else."""
    return Health()


@router.get(
    "/readyz",
    summary="Whether requests can be served",
    response_model=Readiness,
    responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Readiness, "description": "The database is away."}},
)
async def read_readiness(request: Request) -> JSONResponse:
    """503 while the database is away; without the storage or the broker most of it still works."""
    services: Services = request.app.state.services
    found = await services.look()
    status = HTTPStatus.OK if found.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
    return JSONResponse(found.model_dump(), status_code=status)
