"""What the simulator can be told, at its start and while it runs."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sandbox.phota.latency import Latency


def _latency(spec: str) -> str:
    return Latency.parse(spec).spec


class FaultRule(BaseModel):
    """One fault: where it strikes, what it does, how often.

    `submit` is a POST of one of the four operations, `poll` a GET of a job, `download` a GET of a picture, `job` the
    work itself (`fail` is the only fault there). See `faults.py` for what each fault looks like on the wire.
    """

    model_config = ConfigDict(extra="forbid")

    match: Literal["submit", "poll", "download", "job", "any"] = "any"
    fault: Literal[
        "429", "500", "502", "503", "504", "reset", "reset_after", "hang", "hang_after", "slow", "truncate",
        "wrong_length", "bad_json", "html", "not_an_image", "other_image", "expired", "404", "410", "fail",
    ]  # fmt: skip
    rate: float = Field(1.0, ge=0, le=1, description="share of the matching requests")
    times: int | None = Field(None, ge=0, description="strikes left; null: no end")
    seconds: float = Field(30.0, ge=0, description="length of `hang`, `hang_after` and `slow`")
    retry_after_s: int | None = Field(None, ge=0, description="Retry-After of `429` and `503`; null: none is sent")
    code: str = Field("INTERNAL_ERROR", description="error code of a job that is made to `fail`")


class Behaviour(BaseModel):
    """What `POST /_sim/config` can change; fields left out stay as they are."""

    model_config = ConfigDict(extra="forbid")

    latency: Annotated[str, AfterValidator(_latency)] = Field("lognormal:2,0.6", description="see `Latency`")
    limit: int | None = Field(None, ge=0, description="most jobs at work at once; null: no limit")
    limit_status: Literal[429, 503] = Field(429, description="answer above the limit")
    retry_after_s: int | None = Field(1, ge=0, description="Retry-After above the limit; null: none is sent")
    credit: float | None = Field(None, ge=0, description="balance in USD; null: no end")
    key: str | None = Field(None, description="the one API key that works; null: any does")
    moderation: list[str] = Field(["forbidden"], description="words that block a prompt")
    recognition: float = Field(1.0, ge=0, le=1, description="chance that a profile is recognised in an output")
    url_ttl_s: float = Field(86_400.0, description="life of a download URL; 24 h on the live API")
    remember_s: float = Field(86_400.0, ge=0, description="how long a client_request_id is remembered; a guess")
    sync_limit_s: float = Field(600.0, gt=0, description="a synchronous call past this is a 504, and refunded")
    training_s: float = Field(3.0, ge=0, description="time to train a profile; 20 min on the live API")
    faults: list[FaultRule] = Field(default_factory=list)


class SimulatorConfig(Behaviour):
    """All of it; what is not in `Behaviour` is fixed at the start."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65_535, description="0: any free port")
    size: int | None = Field(
        None, ge=1, description="benchmark mode: results are alike, so many bytes and the job's name"
    )
    seed: int = 0
    data: Path | None = Field(None, description="folder that keeps jobs, charges and pictures over a restart")
    profiles: tuple[str, ...] = Field(("abc123",), description="profiles that exist from the start, trained")
