"""What a producer may say of a job, checked before anything is queued."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from clients.output_keys import DEFAULT_TEMPLATE, validate_template
from clients.phota_prices import estimate
from clients.phota_problems import problems_of
from clients.phota_requests import InvalidRequest, Params, Problem, Text, validate
from clients.s3_uri import S3Uri
from models.states import Priority

LONE_TEMPLATE = "jobs/{job_id}-{index}.{ext}"

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f]*$")]


def check_webhook_url(url: str) -> str:
    """Raise PydanticCustomError if nothing could be posted there."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise PydanticCustomError("bad_url", "must be an http(s):// address without a user name")
    return url


class JobSpec(BaseModel):
    """One job as `docs/contract.md`, "A job", writes it down."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    operation: str
    params: dict[str, Any] = Field(default_factory=dict)
    custom_id: ShortText | None = None
    output: str | None = None
    priority: Literal["interactive", "normal", "bulk"] | None = None
    idempotency_key: ShortText | None = None
    webhook_url: Annotated[str, AfterValidator(check_webhook_url)] | None = None
    metadata: dict[Text, Text] = Field(default_factory=dict)
    not_before: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None


@dataclass(frozen=True, slots=True)
class CheckedJob:
    """A job that may be queued; `source` tells where uploaded bytes came from."""

    spec: JobSpec
    params: Params
    output: str | None
    high_usd: Decimal
    low_usd: Decimal
    source: dict[str, Any] | None = field(default=None)

    @property
    def priority(self) -> Priority | None:
        return Priority[self.spec.priority.upper()] if self.spec.priority else None


def check(
    job: Mapping[str, Any], *, allowed_hosts: Sequence[str] = (), source: dict[str, Any] | None = None
) -> CheckedJob:
    """Raise InvalidRequest with every problem found."""
    try:
        spec = JobSpec.model_validate(dict(job))
    except ValidationError as error:
        fields = JobSpec.model_fields
        raise InvalidRequest(problems_of(error, operation="a job", fields=fields, known=fields)) from None
    params = validate(spec.operation, spec.params, allowed_hosts=allowed_hosts)
    cost = estimate(params)
    return CheckedJob(spec, params, _output(spec.output), cost.high, cost.low, source)


def _output(output: str | None) -> str | None:
    """`s3://bucket/prefix/` gets the default name template; one with fields is a template itself."""
    if output is None:
        return None
    try:
        uri = S3Uri.parse(output)
        key = uri.key if "{" in uri.key else f"{uri.key.rstrip('/')}/{DEFAULT_TEMPLATE}".lstrip("/")
        validate_template(key)
    except ValueError as error:
        raise InvalidRequest([Problem("output", "bad_url", f"output: {error}")]) from None
    return str(S3Uri(uri.bucket, key))
