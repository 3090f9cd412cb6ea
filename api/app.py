"""The application: its routes, and what they stand on while it runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio import CapacityLimiter
from fastapi import FastAPI

from api import (
    batches,
    callbacks,
    controls,
    dashboard,
    estimates,
    events,
    health,
    jobs,
    metrics,
    openapi_document,
    problems,
    results,
    uploads,
)
from api.health import Services
from api.metering import Metering
from api.metrics import Metrics
from clients.http import new_http_client
from clients.image_inspector import ImageInspector
from clients.phota import PhotaClient
from clients.sns import SnsReader
from clients.storage import Storage
from models.engine import LONGEST_ANSWER_S, new_engine
from producer.callbacks import CallbackSecrets
from settings import Settings

_CONNECTIONS = 10  # to Postgres; five more at a peak
_PARSED_AT_ONCE = 2  # JSON bodies of many jobs
_BULK_AT_ONCE = 5  # transactions that may last: half of the connections are left for what is quick
_LOOKS_AT_ONCE = 8  # at batches that are followed
_PROBE_S = 30.0  # for the connection of /readyz, which does nothing else
_ROUTERS = (
    jobs,
    batches,
    controls,
    results,
    estimates,
    uploads,
    events,
    callbacks,
    health,
    metrics,
    dashboard,
    openapi_document,
)


def new_app(settings: Settings) -> FastAPI:
    """Nothing connects before it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        assert settings.database_url is not None, "checked by the command line"  # noqa: S101
        app.state.settings = settings
        url = settings.database_url.get_secret_value()
        app.state.engine = new_engine(url, connections=_CONNECTIONS, answer_s=LONGEST_ANSWER_S)
        app.state.storage = Storage.from_settings(settings)
        app.state.inspector = ImageInspector()
        app.state.upload_slots = CapacityLimiter(uploads.AT_ONCE)
        app.state.event_slots = CapacityLimiter(events.AT_ONCE)
        app.state.sns = SnsReader(topics=settings.sns_topics)
        app.state.parse_slots = CapacityLimiter(_PARSED_AT_ONCE)
        app.state.bulk_slots = CapacityLimiter(_BULK_AT_ONCE)
        app.state.look_slots = CapacityLimiter(_LOOKS_AT_ONCE)
        app.state.probe = new_engine(url, connections=1, answer_s=_PROBE_S)  # never waits for others
        app.state.services = Services(app.state.probe, app.state.storage, settings)
        app.state.callbacks = None
        async with new_http_client(connections=4) as http:
            if settings.phota_root is not None:
                phota = PhotaClient(http, base_url=settings.phota_root, api_key=settings.phota_key)
                app.state.callbacks = CallbackSecrets(phota.webhook_secret)
            yield
        app.state.inspector.close()
        app.state.engine.dispose()
        app.state.probe.dispose()

    app = FastAPI(
        title="photabatch",
        version=version("photabatch"),
        lifespan=lifespan,
        openapi_url=None,  # served by `api.openapi_document`, which asks for a key
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.metrics = Metrics()
    app.state.is_stopping = False
    app.add_middleware(Metering, meters=app.state.metrics.meters)
    problems.install(app)
    for module in _ROUTERS:
        app.include_router(module.router)
    return app
