"""What may be asked of Phota: one model per operation, checked before anything is queued or paid.

Fields, values and defaults are those of docs/contract.md, "A job". Every default is sent, so that what it means
to omit a field is never left to Phota.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from clients.image_references import check_reference
from clients.phota_problems import InvalidRequest, Problem, problems_of

__all__ = [
    "KNOWN_FIELDS",
    "Edit",
    "Enhance",
    "Generate",
    "InvalidRequest",
    "Operation",
    "Params",
    "Problem",
    "Remix",
    "has_profiles",
    "images_of",
    "operation_of_path",
    "outputs",
    "profile_count",
    "profiles_of",
    "validate",
    "with_images",
]

MAX_IMAGES = 10  # docs/phota-api.md 2.2
_PROFILE_IN_PROMPT = re.compile(r"\[\[([^\[\]]+)\]\]")


class Operation(StrEnum):
    ENHANCE = "enhance"
    EDIT = "edit"
    GENERATE = "generate"
    REMIX = "remix"


def _storable(value: str) -> str:
    if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in value):
        raise PydanticCustomError("bad_text", "contains a NUL or half a surrogate pair, which Postgres cannot keep")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("missing", "must not be blank")
    return value


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "must be a whole number")
    return value


Text = Annotated[str, AfterValidator(_storable)]
NonBlank = Annotated[Text, AfterValidator(_not_blank)]
Image = Annotated[str, AfterValidator(check_reference)]

# docs/phota-api.md 2.6
RESOLUTIONS: Mapping[str, tuple[str, ...]] = {
    "nb2": ("1K", "2K", "4K"),
    "gpt-image-2": ("1K", "2K", "4K"),
    "qwen-image-2": ("1K", "2K"),
    "flux-2": ("1K", "2K"),
    "reve": ("1K",),
}


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    operation: ClassVar[Operation]
    image_fields: ClassVar[tuple[str, ...]] = ()

    num_output_images: Annotated[int, Field(ge=1, le=4), BeforeValidator(_not_bool)] = 1
    output_format: Literal["jpg", "png"] = "jpg"

    @property
    def endpoint(self) -> str:
        """Path below the API root, e.g. `/edit`."""
        return f"/{self.operation}"

    def body(self) -> dict[str, Any]:
        """The fields to send, defaults included; those that were left empty and have none are omitted."""
        fields = self.model_dump(mode="json")
        return {name: value for name, value in fields.items() if value is not None and value != []}


class _WithProfiles(_Request):
    profile_ids: list[NonBlank] = Field(default_factory=list)


class _WithModel(_Request):
    prompt: NonBlank
    base_model: Literal["nb2", "gpt-image-2", "qwen-image-2", "flux-2", "reve"] = "nb2"
    resolution: Literal["1K", "2K", "4K"] = "1K"
    aspect_ratio: Literal["auto", "1:1", "3:4", "4:3", "9:16", "16:9"] = "auto"
    quality: Literal["auto", "low", "medium", "high"] | None = None

    @field_validator("resolution")
    @classmethod
    def _model_has_it(cls, value: str, info: ValidationInfo) -> str:
        model = info.data.get("base_model", "nb2")
        if value not in RESOLUTIONS[model]:
            known = ", ".join(RESOLUTIONS[model])
            raise PydanticCustomError("not_allowed", f"{model} makes {known}, not {value}")
        return value

    @field_validator("quality")
    @classmethod
    def _model_takes_it(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("base_model") not in ("gpt-image-2", None):
            raise PydanticCustomError("not_allowed", "only gpt-image-2 takes it")
        return value


class Enhance(_WithProfiles):
    """One photo made better; always Nano Banana 2 at 2K."""

    operation = Operation.ENHANCE
    image_fields = ("image",)

    image: Image
    prompt: Text | None = None


class Edit(_WithModel, _WithProfiles):
    """1 to 10 photos changed as the prompt says."""

    operation = Operation.EDIT
    image_fields = ("images",)

    images: list[Image] = Field(min_length=1, max_length=MAX_IMAGES)


class Generate(_WithModel):
    """A picture from text; profiles only as `[[profile_id]]` in the prompt."""

    operation = Operation.GENERATE


class Remix(_WithProfiles):
    """A photo in the style of another; always Nano Banana 2 at 2K."""

    operation = Operation.REMIX
    image_fields = ("input_image", "reference_image")

    input_image: Image
    reference_image: Image
    prompt: Text | None = None


Params = Enhance | Edit | Generate | Remix
_MODELS: Mapping[Operation, type[Params]] = {model.operation: model for model in (Enhance, Edit, Generate, Remix)}
KNOWN_FIELDS = frozenset(name for model in _MODELS.values() for name in model.model_fields)


def validate(operation: str, params: Mapping[str, Any], *, allowed_hosts: Sequence[str] = ()) -> Params:
    """Check `params` of one job. `allowed_hosts`: hosts or networks whose images may come over plain http.

    Raise InvalidRequest with everything that is wrong.
    """
    model = _MODELS[_operation(operation, param="operation")]
    try:
        given = dict(params) if isinstance(params, Mapping) else params
        return model.model_validate(given, context={"allowed_hosts": tuple(allowed_hosts)})
    except ValidationError as error:
        problems = problems_of(error, operation=model.operation, fields=model.model_fields, known=KNOWN_FIELDS)
        raise InvalidRequest(problems) from None


def operation_of_path(path: str) -> Operation:
    """The operation of a batch line's `url`: `/v1/phota/edit` is `edit`. Raise InvalidRequest for any other."""
    match = re.fullmatch(r"(?:https://[^/?#\s]+)?/v1/phota/(\w+)/?", path)
    if match is None:
        raise InvalidRequest([Problem("url", "unknown_operation", f"url: {path[:80]!r} is not like /v1/phota/edit")])
    return _operation(match[1], param="url")


def _operation(name: str, *, param: str) -> Operation:
    try:
        return Operation(name)
    except ValueError:
        message = f"{param}: {str(name)[:40]!r} is not one of {', '.join(Operation)}"
        raise InvalidRequest([Problem(param, "unknown_operation", message)]) from None


def images_of(params: Params) -> list[str]:
    """The images a job names, in the order that `with_images` takes them back."""
    values = [getattr(params, name) for name in params.image_fields]
    return list(values[0]) if isinstance(params, Edit) else values


def with_images(params: Params, images: Sequence[str]) -> Params:
    """The same job with `images` (presigned URLs or base64, not checked) in place of its own.

    Raise ValueError if their number differs.
    """
    if len(images) != len(images_of(params)):
        raise ValueError(f"{len(images)} images given in place of {len(images_of(params))}")
    if isinstance(params, Edit):
        return params.model_copy(update={"images": list(images)})
    return params.model_copy(update=dict(zip(params.image_fields, images, strict=True)))


def profiles_of(params: Params) -> list[str]:
    """Distinct profile ids of a job, from `profile_ids` and from `[[profile_id]]` in its prompt."""
    listed = params.profile_ids if isinstance(params, _WithProfiles) else []
    named = (name.strip() for name in _PROFILE_IN_PROMPT.findall(params.prompt or ""))
    return list(dict.fromkeys([*listed, *filter(None, named)]))


def profile_count(params: Params) -> int:
    return len(profiles_of(params))


def has_profiles(params: Params) -> bool:
    return bool(profiles_of(params))


def outputs(params: Params) -> int:
    """How many pictures the job asks for."""
    return params.num_output_images
