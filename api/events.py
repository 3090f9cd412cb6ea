"""S3 tells of uploads, in whatever shape: plain, in an envelope of SNS, by EventBridge, or as a gateway has it."""

from functools import partial
from http import HTTPStatus
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from api.bodies import SMALLER, parse_json, read_body
from api.challenges import Challenging
from api.event_examples import EXAMPLES
from api.keys import EventSender
from api.openapi import refusals
from api.problems import Problem
from api.submissions import FULL, owner_in, queue_full
from clients.sns import ForgedMessage, SnsError, UnknownTopic, UntrustedUrl
from producer.ownership import Owner, QueueFull
from producer.uploads.arrivals import Accepted, accept
from producer.uploads.notifications import read_notification
from producer.uploads.s3_events import InvalidEvent, UploadEvent

router = APIRouter(tags=["uploads"], route_class=Challenging)

AT_ONCE = 4  # posts; each looks at eight objects at a time, and the S3 client has 32 connections
_UNTRUSTED = (UnknownTopic, UntrustedUrl, ForgedMessage)
_NO_TOPIC = (
    "The topic 'arn:aws:sns:eu-west-1:123456789012:uploads' is not one that may send here; PHOTABATCH_SNS_TOPICS names "
    "those that may."
)
_CODES = {
    403: {"sns_topic_unknown": _NO_TOPIC, "sns_signature_invalid": "The signature is not that of this message."},
    413: {"too_large": f"The body has more than 4,096 KB. {SMALLER}"},
    422: {"invalid_event": "Records[0].s3.object.key must be a string that is not empty, not missing."},
    **FULL,
}
_SCHEMA = {"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}
_BODY = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": _SCHEMA,
                "examples": {name: {"value": value} for name, value in EXAMPLES.items()},
            }
        },
    }
}


class EventsTaken(BaseModel):
    """What came of the uploads that were told of."""

    accepted: int = Field(description="Jobs that are queued now: one for each trigger that wants the upload.")
    known: int = Field(description="Uploads that have their job already.")
    ignored: int = Field(
        description="No trigger wants them, or they are gone, overtaken, empty, older than the trigger, or results of "
        "photabatch."
    )


@router.post(
    "/v1/events/s3",
    response_model=EventsTaken,
    responses=refusals(400, 413, 422, codes=_CODES),
    openapi_extra=_BODY,
    summary="S3 tells of uploads",
)
async def take_s3_events(request: Request, caller: EventSender) -> dict[str, Any]:
    """Events in any shape that S3 and its gateways post, whatever their media type says; triggers of the key's account
    make jobs of them. Told twice does no harm, so no `Idempotency-Key` is needed: send anything that was not answered
    with 200 again. Amazon SNS is believed by its signature, for the topics of `PHOTABATCH_SNS_TOPICS`, whose
    subscriptions are confirmed. A test event, or nothing at all, is answered with zeros.
    """
    body = await read_body(request)
    take = partial(_take, request, owner_in(request, caller), body)
    taken: Accepted = await to_thread.run_sync(take, limiter=request.app.state.event_slots)
    return {"accepted": taken.accepted, "known": taken.known, "ignored": taken.ignored}


def _take(request: Request, owner: Owner, body: bytes) -> Accepted:
    state = request.app.state
    events = _events(request, body)
    if not events:
        return Accepted()
    try:
        return accept(state.engine, state.storage, events, owner, allowed_hosts=state.settings.allowed_hosts)
    except QueueFull as error:
        raise queue_full(error) from None


def _events(request: Request, body: bytes) -> list[UploadEvent]:
    """Raise Problem 400, 403, 422 or 503."""
    document = parse_json(body) if body.strip() else {}
    # raw delivery has the header and no envelope: nothing is signed, so it is as good as any post with a key
    is_raw = request.headers.get("x-amz-sns-rawdelivery") == "true"
    is_sns = "x-amz-sns-message-type" in request.headers and not is_raw
    try:
        return read_notification(document, body, request.app.state.sns, is_sns=is_sns)
    except InvalidEvent as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_event", _sentence(error)) from None
    except SnsError as error:
        raise _refused(error) from None


def _refused(error: SnsError) -> Problem:
    if error.is_retryable:
        headers = {"Retry-After": "5"}
        return Problem(
            HTTPStatus.SERVICE_UNAVAILABLE, "temporarily_unavailable", f"{_sentence(error)} Try again.", headers=headers
        )
    status = HTTPStatus.FORBIDDEN if isinstance(error, _UNTRUSTED) else HTTPStatus.UNPROCESSABLE_ENTITY
    hint = "; PHOTABATCH_SNS_TOPICS names those that may" if isinstance(error, UnknownTopic) else ""
    return Problem(status, error.code, _sentence(f"{error}{hint}"))


def _sentence(said: object) -> str:
    words = str(said)
    return f"{words[:1].upper()}{words[1:]}."
