"""The documented endpoints."""

import asyncio
import base64
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.phota import render
from sandbox.phota.errors import PhotaError, not_found
from sandbox.phota.gate import ROOT
from sandbox.phota.jobs import Job
from sandbox.phota.profiles import NewProfile
from sandbox.phota.requests import parse
from sandbox.phota.simulator import Simulator

_TYPES = {"jpg": "image/jpeg", "png": "image/png"}


def _simulator(request: Request) -> Simulator:
    simulator: Simulator = request.app.state.simulator
    return simulator


def _base_url(request: Request) -> str:
    """As the client calls us, so that a proxy before us also carries the downloads."""
    return str(request.base_url).rstrip("/")


async def submit(request: Request) -> Response:
    """POST of an operation: 202 with a JobHandle if it is async, else 200 with the result."""
    simulator = _simulator(request)
    order = parse(request.url.path.rpartition("/")[2], await request.body())
    job = simulator.submit(order, base_url=_base_url(request))
    if order.is_async:
        return JSONResponse({"job_id": job.id, "status": job.status, "poll_url": f"{ROOT}/jobs/{job.id}"}, 202)
    return JSONResponse(await _result(simulator, job, mode=order.mode, base_url=_base_url(request)))


async def _result(simulator: Simulator, job: Job, *, mode: str, base_url: str) -> dict[str, Any]:
    try:
        async with asyncio.timeout(simulator.config.sync_limit_s):
            await job.done.wait()
    except TimeoutError:
        simulator.jobs.forget_request(job)
        simulator.fail(job, PhotaError(504, "TIMEOUT", "the call ran past its limit, its cost was given back"))
    if job.error:
        raise PhotaError(job.error_status, job.error["code"], job.error["detail"])
    result = simulator.result(job, base_url=base_url)
    if mode == "bytes":
        pictures = [simulator.picture(job.blob(index)) for index in range(job.order.count)]
        result |= {"images": [base64.b64encode(picture).decode() for picture in pictures], "download_urls": []}
    return result


async def poll(request: Request) -> Response:
    simulator = _simulator(request)
    job = simulator.jobs.get(request.path_params["job_id"])
    return JSONResponse(simulator.describe(job, base_url=_base_url(request)))


async def download(request: Request) -> Response:
    """A result picture; needs no key."""
    simulator = _simulator(request)
    blob = simulator.links.open(request.path_params["name"])
    simulator.jobs.get(blob.partition("-")[0])
    try:
        return Response(simulator.picture(blob), media_type=_TYPES[blob.rpartition(".")[2]])
    except KeyError:
        raise not_found("file") from None


async def webhook_secret(request: Request) -> Response:
    return JSONResponse({"secret": _simulator(request).webhook_secret})


async def add_profile(request: Request) -> Response:
    profile = _simulator(request).train(NewProfile.parse(await request.body()))
    return JSONResponse({"profile_id": profile.id})


async def list_profiles(request: Request) -> Response:
    return JSONResponse({"profiles": _simulator(request).profiles.list(request.query_params.get("tag"))})


async def profile_status(request: Request) -> Response:
    profile = _simulator(request).profiles.get(request.path_params["profile_id"])
    return JSONResponse({"profile_id": profile.id, "status": profile.status, "message": ""})


async def profile_picture(request: Request) -> Response:
    profile = _simulator(request).profiles.get(request.path_params["profile_id"])
    picture = await asyncio.to_thread(render.profile_picture, profile.id)
    return Response(picture, media_type="image/jpeg")


async def delete_profile(request: Request) -> Response:
    profile_id = request.path_params["profile_id"]
    _simulator(request).forget(profile_id)
    return JSONResponse({"profile_id": profile_id, "status": "ok"})


ROUTES = [
    *(Route(f"{ROOT}/{operation}", submit, methods=["POST"]) for operation in ("edit", "generate", "enhance", "remix")),
    Route(f"{ROOT}/jobs/{{job_id}}", poll),
    Route("/files/{name}", download),
    Route(f"{ROOT}/webhook-secret", webhook_secret),
    Route(f"{ROOT}/profiles/add", add_profile, methods=["POST"]),
    Route(f"{ROOT}/profiles/ids", list_profiles),
    Route(f"{ROOT}/profiles/{{profile_id}}/status", profile_status),
    Route(f"{ROOT}/profiles/{{profile_id}}/profile_picture", profile_picture),
    Route(f"{ROOT}/profiles/{{profile_id}}", delete_profile, methods=["DELETE"]),
]
