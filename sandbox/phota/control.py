"""`/_sim`: the simulator's own endpoints, for tests and benchmarks. They need no key and are never struck by faults."""

import json

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.phota.simulator import Simulator


async def ledger(request: Request) -> Response:
    """Charges and totals; `?totals=1` leaves the charges out."""
    simulator: Simulator = request.app.state.simulator
    return JSONResponse(simulator.ledger.report(with_charges="totals" not in request.query_params))


async def jobs(request: Request) -> Response:
    """All that it was asked for; `?since=` those since that Unix time, in seconds."""
    simulator: Simulator = request.app.state.simulator
    since = float(request.query_params.get("since", 0))
    return JSONResponse({"jobs": [job.overview() for job in simulator.jobs if job.created_at >= since]})


async def reset(request: Request) -> Response:
    simulator: Simulator = request.app.state.simulator
    simulator.reset()
    return JSONResponse({"status": "ok"})


async def config(request: Request) -> Response:
    """GET shows what is in force; POST changes the fields it names and shows the outcome."""
    simulator: Simulator = request.app.state.simulator
    if request.method == "POST":
        try:
            simulator.configure(json.loads(await request.body()))
        except ValidationError as error:
            return Response(error.json(), 422, media_type="application/json")
        except json.JSONDecodeError as error:
            return JSONResponse({"detail": str(error)}, 422)
    return JSONResponse(simulator.config.model_dump(mode="json"))


ROUTES = [
    Route("/_sim/ledger", ledger),
    Route("/_sim/jobs", jobs),
    Route("/_sim/reset", reset, methods=["POST"]),
    Route("/_sim/config", config, methods=["GET", "POST"]),
]
