"""Bodies and options that the API takes; the examples are those of Phota's documentation."""

from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SkipValidation,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from api.problems import Problem
from clients.phota_requests import Edit, Enhance, Generate, Operation, Remix, Text
from models.events import BATCH_EVENTS, JOB_EVENTS
from models.moments import written
from models.windows import Window
from producer.batches import BatchLimits
from producer.jobs import JobSpec, Moment, ShortText, check_webhook_url

MAX_JOBS = 10_000  # of one JSON body

ENHANCE: JsonDict = {
    "operation": "enhance",
    "custom_id": "trip/1.jpg",
    "params": {
        "image": "https://example.com/photo.jpg",
        "profile_ids": ["abc123"],
        "num_output_images": 2,
        "output_format": "jpg",
    },
}
EDIT: JsonDict = {
    "operation": "edit",
    "custom_id": "trip/2.jpg",
    "params": {
        "prompt": "Make [[abc123]] smile wider",
        "images": ["https://example.com/photo.jpg"],
        "profile_ids": ["abc123"],
        "base_model": "nb2",
        "aspect_ratio": "1:1",
        "resolution": "4K",
        "num_output_images": 2,
        "output_format": "jpg",
    },
}
GENERATE: JsonDict = {
    "operation": "generate",
    "params": {
        "prompt": "A professional headshot of [[abc123]] in a modern office",
        "base_model": "nb2",
        "num_output_images": 4,
        "output_format": "jpg",
    },
}
BATCH: JsonDict = {"name": "trip", "budget_usd": 20, "jobs": [ENHANCE, EDIT, GENERATE]}


class JobBody(JobSpec):
    """One call to Phota: its operation, Phota's own `params`, and what photabatch does with it."""

    model_config = ConfigDict(json_schema_extra={"examples": [ENHANCE, EDIT, GENERATE]})

    operation: Operation
    params: Enhance | Edit | Generate | Remix = Field(description="Phota's own fields, as the operation takes them.")  # type: ignore[assignment]


_OF_A_BATCH = JOB_EVENTS + BATCH_EVENTS


def _known_event(name: str) -> str:
    if name not in _OF_A_BATCH:
        raise PydanticCustomError("unknown_event", "is not one of {known}", {"known": ", ".join(_OF_A_BATCH)})
    return name


def _window(text: str) -> str:
    """As `Window` spells it, whatever way it was written."""
    try:
        return str(Window.parse(text))
    except ValueError as error:
        raise PydanticCustomError("bad_window", "{reason}", {"reason": str(error)}) from None


EventType = Annotated[str, AfterValidator(_known_event), WithJsonSchema({"type": "string", "enum": list(_OF_A_BATCH)})]


class BatchOptions(BaseModel):
    """What is said of a batch beside its jobs."""

    model_config = ConfigDict(extra="forbid")

    name: ShortText | None = Field(None, description="For people, and part of the keys of outputs; may repeat.")
    budget_usd: Decimal | None = Field(
        None,
        ge=0,
        le=99_999_999,
        decimal_places=4,
        description="The batch pauses before it could cost more.",
        examples=[20],
    )
    window: Annotated[str, StringConstraints(max_length=100), AfterValidator(_window)] | None = Field(
        None,
        description="Nothing begins outside it, nor so late that it would likely run past its end; what is left goes "
        "on when it opens again. By the clock of its time zone (UTC without one), over midnight where it closes "
        "earlier than it opens.",
        examples=["22:00-06:00@Europe/Paris"],
    )
    deadline: Moment | None = Field(
        None,
        description="What has not begun by then expires, with the code `deadline`.",
        examples=["2030-01-01T06:00:00Z"],
    )
    max_failure_rate: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Of the jobs that have ended, once 20 have: if more failed the batch pauses by itself.",
        examples=[0.2],
    )
    priority: Literal["interactive", "normal", "bulk"] = "normal"
    webhook_url: Annotated[str, AfterValidator(check_webhook_url)] | None = Field(
        None, description="Is told of the batch's own events.", examples=["https://example.com/hooks/photabatch"]
    )
    webhook_events: list[EventType] = Field(
        [],
        max_length=len(_OF_A_BATCH),
        description="Events of jobs that `webhook_url` is told of too.",
        examples=[["job.failed"]],
    )
    webhook_digest: bool = Field(False, description="Tell of up to 500 jobs in one call, at most one a second.")
    skip_invalid: bool = Field(False, description="Leave out jobs that are invalid, instead of refusing all.")
    skip_done: bool = Field(
        False,
        description="A job that asks for what an earlier one, sent so too, has done to the same images is `skipped`: "
        "it costs nothing and has the earlier outputs. Uploads are told by their bytes, others by their address, jobs "
        "without images by their `custom_id`. What is being done is waited for. An estimate counts all.",
    )

    def limits(self) -> BatchLimits:
        """Raise Problem 422 for a deadline that has passed. Not as it is read: sent again it gets its first answer."""
        if self.deadline is not None and self.deadline <= datetime.now(UTC):
            message = f"deadline: {written(self.deadline)} has passed"
            fault = {"param": "deadline", "code": "out_of_range", "message": message}
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", message, errors=[fault])
        return BatchLimits(
            budget_usd=self.budget_usd,
            window=None if self.window is None else Window.parse(self.window),
            deadline=self.deadline,
            max_failure_rate=self.max_failure_rate,
        )


class LineOptions(BatchOptions):
    """The same as query parameters, in front of a JSONL body; the address is judged by the route."""

    webhook_url: str | None = None


class BatchBody(BatchOptions):
    """A batch in one JSON document."""

    model_config = ConfigDict(json_schema_extra={"examples": [BATCH]})

    metadata: dict[Text, Text] = Field({}, description="Echoed in the batch object.", examples=[{"album": "trip"}])
    jobs: list[SkipValidation[JobBody]] = Field(min_length=1, max_length=MAX_JOBS)


class ResumeBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    budget_usd: Decimal | None = Field(
        None,
        ge=0,
        le=99_999_999,
        decimal_places=4,
        description="A new budget; needed where the old one is reached.",
        examples=[40],
    )


class RetryBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: ShortText | None = Field(
        None, description="Only what failed with this code, also rejected jobs.", examples=["moderation_blocked"]
    )
    pay_again: bool = Field(
        False, description="Call anew also what may have been charged and nothing free can be done for."
    )
