"""What a producer may say of a job, checked before anything is queued."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

from clients.addresses import url_fault
from clients.output_keys import DEFAULT_TEMPLATE, validate_template
from clients.phota_prices import estimate
from clients.phota_problems import MOST, problems_of
from clients.phota_requests import InvalidRequest, Params, Problem, Text, validate
from clients.s3_uri import S3Uri
from models.states import Priority
from producer.ownership import Owner

T = TypeVar("T")

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f]*$")]

_LONGEST_WEBHOOK_URL = 2_000  # bytes


def webhook_url_fault(url: str, *, allowed_hosts: Sequence[str] = ()) -> str | None:
    """As `url_fault`; and it has to fit into an index."""
    if len(url) > _LONGEST_WEBHOOK_URL or len(url.encode(errors="replace")) > _LONGEST_WEBHOOK_URL:
        return f"must not be longer than {_LONGEST_WEBHOOK_URL:,} bytes"
    return url_fault(url, allowed_hosts=allowed_hosts)


def check_webhook_url(url: str, info: ValidationInfo) -> str:
    """Pydantic validator; the hosts that may be private come as `allowed_hosts` in its context."""
    reason = webhook_url_fault(url, allowed_hosts=(info.context or {}).get("allowed_hosts", ()))
    if reason is not None:
        raise PydanticCustomError("bad_url", reason)
    return url


def _in_utc(moment: datetime) -> datetime:
    """Postgres takes fewer offsets than Python."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("out_of_range", "is no moment of the years 1 to 9999") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


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
    not_before: Moment | None = None
    expires_at: Moment | None = None


@dataclass(frozen=True, slots=True)
class CheckedJob:
    """A job that may be queued; `source` tells where uploaded bytes came from, `content_key` what it does to them."""

    spec: JobSpec
    params: Params
    output: str | None
    high_usd: Decimal
    low_usd: Decimal
    source: dict[str, Any] | None = field(default=None)
    content_key: str | None = None
    is_redo: bool = False

    @property
    def priority(self) -> Priority | None:
        return Priority[self.spec.priority.upper()] if self.spec.priority else None


def check(
    job: Mapping[str, Any],
    *,
    allowed_hosts: Sequence[str] = (),
    source: dict[str, Any] | None = None,
    owner: Owner | None = None,
    params_name: str = "",
) -> CheckedJob:
    """Raise InvalidRequest with every problem found, also of what `owner` may not use.

    `params_name`: the field that the job's params stand in, to tell `params.image` from a field beside them.
    """
    plain = job if isinstance(job, dict) else dict(job)
    found: list[Problem] = []
    spec = _tried(found, _spec, plain, allowed_hosts)
    params = _tried(found, _params, plain, allowed_hosts, owner, params_name)
    output = _tried(found, _output, plain.get("output"), owner)
    if found or spec is None or params is None:
        raise InvalidRequest(found[:MOST])
    cost = estimate(params)
    return CheckedJob(spec, params, output, cost.high, cost.low, source)


def _tried(found: list[Problem], check_part: Callable[..., T], *arguments: Any) -> T | None:
    """One part of a job; its faults join those of the others."""
    try:
        return check_part(*arguments)
    except InvalidRequest as error:
        found += error.problems
        return None


def _spec(plain: dict[str, Any], allowed_hosts: Sequence[str]) -> JobSpec:
    try:
        return JobSpec.model_validate(plain, context={"allowed_hosts": allowed_hosts})
    except ValidationError as error:
        fields = JobSpec.model_fields
        raise InvalidRequest(problems_of(error, operation="a job", fields=fields, known=fields)) from None


def _params(plain: dict[str, Any], allowed_hosts: Sequence[str], owner: Owner | None, name: str) -> Params | None:
    """None where the operation or the whole of params is no such thing, which JobSpec tells."""
    operation, given = plain.get("operation"), plain.get("params", {})
    if not isinstance(operation, str) or not isinstance(given, dict):
        return None
    try:
        params = validate(operation, given, allowed_hosts=allowed_hosts)
        if owner is not None:
            owner.check_inputs(params)
    except InvalidRequest as error:
        if not name:
            raise
        raise InvalidRequest([_below(name, problem) for problem in error.problems]) from None
    return params


def _below(name: str, problem: Problem) -> Problem:
    if problem.param == "operation":  # stands beside them
        return problem
    return replace(problem, param=name if problem.param == "params" else f"{name}.{problem.param}")


def _output(output: object, owner: Owner | None) -> str | None:
    """`s3://bucket/prefix/` gets the default name template; one with fields is a template itself."""
    told = _template(output) if isinstance(output, str) else None
    if owner is not None:
        owner.check_output(told)
    return told


def _template(output: str) -> str:
    try:
        uri = S3Uri.parse(output)
        key = uri.key if "{" in uri.key else f"{uri.key.rstrip('/')}/{DEFAULT_TEMPLATE}".lstrip("/")
        validate_template(key)
    except ValueError as error:
        raise InvalidRequest([Problem("output", "bad_url", f"output: {error}")]) from None
    return str(S3Uri(uri.bucket, key))
