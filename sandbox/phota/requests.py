"""The four request bodies: documented fields, limits and combinations."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.phota.errors import PhotaError, UnprocessableError

RESOLUTIONS = {
    "nb2": ("1K", "2K", "4K"),
    "gpt-image-2": ("1K", "2K", "4K"),
    "qwen-image-2": ("1K", "2K"),
    "flux-2": ("1K", "2K"),
    "reve": ("1K",),
}
_INLINE_PROFILE = re.compile(r"\[\[([^\[\]]+)\]\]")

Format = Literal["png", "jpg"]
Mode = Literal["bytes", "urls"]


class _Shared(BaseModel):
    model_config = ConfigDict(extra="forbid")

    num_output_images: int = Field(1, ge=1, le=4)
    output_format: Format = "jpg"
    response_mode: Mode = "bytes"
    is_async: bool = Field(False, alias="async")
    callback_url: str | None = Field(None, pattern="^https?://")
    client_request_id: str | None = Field(None, pattern="^[A-Za-z0-9_-]{1,64}$")


class _Sized(_Shared):
    prompt: str = ""
    base_model: Literal["nb2", "gpt-image-2", "qwen-image-2", "flux-2", "reve"] = "nb2"
    resolution: Literal["1K", "2K", "4K"] = "1K"
    aspect_ratio: Literal["auto", "1:1", "3:4", "4:3", "9:16", "16:9"] = "auto"
    quality: Literal["auto", "low", "medium", "high"] | None = None


class Edit(_Sized):
    images: list[str] = Field(min_length=1, max_length=10)
    profile_ids: list[str] = []


class Generate(_Sized):
    prompt: str


class Enhance(_Shared):
    image: str
    prompt: str | None = None
    profile_ids: list[str] = []


class Remix(_Shared):
    input_image: str
    reference_image: str
    prompt: str | None = None
    profile_ids: list[str] = []
    num_output_images: int = Field(ge=1, le=4)
    output_format: Format
    response_mode: Mode


BODIES: dict[str, type[_Shared]] = {"edit": Edit, "generate": Generate, "enhance": Enhance, "remix": Remix}


@dataclass(frozen=True, slots=True)
class Order:
    """A valid request, whatever its operation; enhance and remix are fixed to Nano Banana 2 at 2K."""

    operation: str
    prompt: str
    sources: tuple[str, ...]
    """URLs or base64, in the order of the request; content before reference for remix."""
    profiles: tuple[str, ...]
    count: int
    format: str
    mode: str
    is_async: bool
    callback_url: str | None
    client_request_id: str | None
    base_model: str = "nb2"
    resolution: str = "2K"
    aspect_ratio: str = "auto"
    quality: str | None = None

    @property
    def fingerprint(self) -> str:
        """Same for the same request. Of a URL only its path counts.

        Presigned ones differ in their query on every retry, and in their host where workers reach S3 by several.
        """
        fields = (self.operation, self.prompt, self.profiles, self.count, self.format, self.mode, self.is_async,
                  self.base_model, self.resolution, self.aspect_ratio, self.quality)  # fmt: skip
        digest = hashlib.sha256(repr(fields).encode())
        for source in self.sources:
            digest.update((urlsplit(source).path if is_url(source) else source).encode())
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """For people: base64 is told by its length only."""
        fields = {name: getattr(self, name) for name in ("prompt", "profiles", "count", "format", "mode", "is_async",
                  "base_model", "resolution", "aspect_ratio", "quality")}  # fmt: skip
        sources = [source if is_url(source) else f"<{len(source)} characters of base64>" for source in self.sources]
        return fields | {"sources": sources}


def is_url(source: str) -> bool:
    return source[:8].lower().startswith(("http://", "https://"))


def parse(operation: str, body: bytes) -> Order:
    """Raise UnprocessableError for a body of another form, PhotaError 400 for a combination that makes no sense."""
    try:
        form = BODIES[operation].model_validate_json(body)
    except ValidationError as error:
        raise UnprocessableError(_details(error)) from error
    order = _order(operation, form)
    _check(order)
    return order


def _details(error: ValidationError) -> list[dict[str, Any]]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [{"loc": ["body", *one["loc"]], "msg": one["msg"], "type": one["type"]} for one in found]


def _order(operation: str, form: _Shared) -> Order:
    fields: dict[str, Any] = dict(form)
    prompt = fields.get("prompt") or ""
    alone = [fields[name] for name in ("image", "input_image", "reference_image") if name in fields]
    sized = {name: fields[name] for name in ("base_model", "resolution", "aspect_ratio", "quality") if name in fields}
    return Order(
        operation=operation,
        prompt=prompt,
        sources=tuple(fields.get("images", alone)),
        profiles=tuple(dict.fromkeys([*fields.get("profile_ids", ()), *_INLINE_PROFILE.findall(prompt)])),
        count=form.num_output_images,
        format=form.output_format,
        mode=form.response_mode,
        is_async=form.is_async,
        callback_url=form.callback_url,
        client_request_id=form.client_request_id,
        **sized,
    )


def _check(order: Order) -> None:
    if order.is_async and order.mode != "urls":
        raise PhotaError(400, "BAD_REQUEST", "async needs response_mode urls")
    if order.callback_url and not order.is_async:
        raise PhotaError(400, "BAD_REQUEST", "callback_url needs async")
    if order.quality and order.base_model != "gpt-image-2":
        raise PhotaError(400, "BAD_REQUEST", f"quality is not supported by {order.base_model}")
    if order.resolution not in RESOLUTIONS[order.base_model]:
        raise PhotaError(400, "BAD_REQUEST", f"{order.base_model} does not support {order.resolution}")
