"""The outermost layer: request ids, counting, faults, the API key."""

import hmac
import re
import uuid

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.phota.config import FaultRule
from sandbox.phota.errors import PhotaError, respond
from sandbox.phota.faults import strike
from sandbox.phota.filler import filler
from sandbox.phota.simulator import Simulator

ROOT = "/v1/phota"
_SUBMIT = re.compile(ROOT + "/(edit|generate|enhance|remix)$")


def _place(scope: Scope) -> tuple[str, str]:
    """Where a fault may strike ("" for nowhere), and the name to count the call under."""
    path: str = scope["path"]
    if found := _SUBMIT.match(path):
        return "submit", found[1]
    if path.startswith(f"{ROOT}/jobs/"):
        return "poll", "poll"
    if path.startswith("/files/"):
        return "download", "download"
    return "", "_sim" if path.startswith("/_sim") else path.removeprefix(ROOT).strip("/").partition("/")[0]


class Gate:
    """Raw ASGI around the routes; `app.state.simulator` is there once the lifespan has begun."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        simulator: Simulator = scope["app"].state.simulator
        place, name = _place(scope)
        scope["request_id"] = request_id = uuid.uuid4().hex
        if name != "_sim":
            simulator.ledger.calls[name] += 1

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                if name != "_sim":
                    simulator.ledger.statuses[str(message["status"])] += 1
            await send(message)

        if rule := simulator.faults.pick(place) if place else None:
            simulator.ledger.faults[f"{place} {rule.fault}"] += 1
            other = _other_picture(simulator, scope["path"], rule)
            return await strike(rule, self._guarded, scope, receive, tagged, other=other)
        return await self._guarded(scope, receive, tagged)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(ROOT):
            refusal = _refusal(Headers(scope=scope).get("x-api-key"), scope["app"].state.simulator.config.key)
            if refusal:
                return await respond(refusal, scope["request_id"])(scope, receive, send)
        return await self._app(scope, receive, send)


def _refusal(given: str | None, expected: str | None) -> PhotaError | None:
    if not given:
        return PhotaError(403, "FORBIDDEN", "no X-API-Key header was sent")
    if expected is not None and not hmac.compare_digest(given.encode(), expected.encode()):
        return PhotaError(401, "UNAUTHORIZED", "invalid API key")
    return None


def _other_picture(simulator: Simulator, path: str, rule: FaultRule) -> bytes:
    """A valid picture that is not the one asked for."""
    if rule.fault != "other_image":
        return b""
    for job in simulator.jobs:
        if job.status == "succeeded" and job.id not in path:
            return simulator.picture(job.blob(0))
    return filler(50_000, "jpg")
