"""Why a request is not valid, in words for people and codes for programs."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

MOST = 20  # problems told of one request; a hostile one could have thousands

# Set by photabatch on every call, so never by a job.
OURS = frozenset({"async", "response_mode", "callback_url", "client_request_id"})


# Their values are quoted in no message: it goes on into rows, webhooks and logs.
_PRIVATE = frozenset({"prompt", "webhook_url", "idempotency_key", "Idempotency-Key", "Authorization"})

# What is out of bounds, by pydantic's name of the error.
_BOUNDS = {
    "greater_than_equal": "{value} is less than {ge}",
    "less_than_equal": "{value} is more than {le}",
    "too_short": "at least {min_length} needed",
    "too_long": "{actual_length} are more than {max_length}",
    "string_too_short": "must not be empty",
    "string_too_long": "has more than {max_length} characters",
    "decimal_max_places": "has more than {decimal_places} decimal places",
}
# What each of pydantic's types is called, by how the names of its errors begin.
_WORDS = {
    "string_": "text",
    "list_": "a list",
    "model_": "an object",
    "dict_": "an object",
    "bool_": "true or false",
    "int_": "a whole number",
    "decimal_": "a number",
    "float_": "a number",
    "finite_": "a number",
    "uuid_": "an id",
    "datetime_": "a moment such as 2026-05-01T12:00:00Z",
    "timezone_": "a moment such as 2026-05-01T12:00:00Z",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault. `code` is stable: missing, unknown_parameter, not_allowed, out_of_range, invalid_value,
    invalid_type, bad_url, bad_text, unknown_operation."""

    param: str
    code: str
    message: str


class InvalidRequest(ValueError):  # noqa: N818 - the contract's word
    """A job that must not be queued; `problems` holds every fault found, up to twenty."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = list(problems)

    def __reduce__(self) -> tuple[type["InvalidRequest"], tuple[list[Problem]]]:
        return InvalidRequest, (self.problems,)


class _Unquoted:
    """Stands for a value that is not to be shown."""


def problems_of(
    error: ValidationError, *, operation: str, fields: Collection[str], known: Collection[str]
) -> list[Problem]:
    """Translate pydantic's errors. `fields`: of this operation; `known`: of any."""
    details = error.errors(include_url=False)[:MOST]
    return [problem_of(each, operation=operation, fields=fields, known=known) for each in details]


def problem_of(
    detail: Mapping[str, Any],
    *,
    operation: str,
    fields: Collection[str] = (),
    known: Collection[str] = (),
    whole: str = "params",
) -> Problem:
    """One of pydantic's error details; `whole`: what to call the value itself, where no field of it is at fault."""
    param = _param(detail["loc"]) or whole
    if detail["type"] == "extra_forbidden":
        code, text = _unexpected(param, operation=operation, fields=fields, known=known)
    else:
        is_private = not _PRIVATE.isdisjoint(detail["loc"]) and detail["input"]
        code, text = _fault({**detail, "input": _Unquoted()} if is_private else detail)
    return Problem(param, code, f"{param}: {text}")


def _param(location: tuple[int | str, ...]) -> str:
    """`("images", 0)` is `images[0]`."""
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return "".join(letter if letter.isprintable() else "?" for letter in name[:64])


def _unexpected(param: str, *, operation: str, fields: Collection[str], known: Collection[str]) -> tuple[str, str]:
    if operation == "generate" and param in ("images", "image"):
        return "not_allowed", "generate takes no images; to change a photo use edit"
    if operation == "generate" and param == "profile_ids":
        return "not_allowed", "generate takes no profile_ids; write [[profile_id]] in the prompt instead"
    if param in OURS:
        return "not_allowed", "is set by photabatch"
    if param not in known:
        close = difflib.get_close_matches(param, fields, n=1)
        return "unknown_parameter", f"is not a parameter of {operation}" + (f"; {close[0]}?" if close else "")
    hint = next((f"; it takes {name}" for name in ("image", "images") if "image" in param and name in fields), "")
    return "not_allowed", f"{operation} does not take it{hint}"


def _fault(detail: Mapping[str, Any]) -> tuple[str, str]:
    kind, value, limits = detail["type"], detail["input"], detail.get("ctx", {})
    if kind in _BOUNDS:
        return "out_of_range", _BOUNDS[kind].format(value=_figure(value), **limits)
    match kind:
        case "missing":
            return kind, "must not be blank" if value == "" else _sentence(detail["msg"])
        case "string_pattern_mismatch":
            return "bad_text", f"{_short(value)} has characters that must not stand in it"
        case "literal_error" | "enum":
            return "invalid_value", f"{_short(value)} is not one of {limits['expected']}".replace("'", "")
        case "unknown_event":
            return "invalid_value", f"{_short(value)} {detail['msg']}"
        case "bad_window":
            return "invalid_value", detail["msg"]
        case "bad_url" | "not_allowed" | "bad_text" | "out_of_range":
            return kind, detail["msg"]
    return "invalid_type", _type_fault(kind, value)


def _sentence(message: str) -> str:
    return "is missing" if message == "Field required" else message


def _type_fault(kind: str, value: object) -> str:
    word = next((word for prefix, word in _WORDS.items() if kind.startswith(prefix)), "valid")
    return f"must be {word}, not {_short(value)}"


def _figure(value: Any) -> str:
    """A number, that of a query too, which is text."""
    return _short(value).strip("'")


def _short(value: Any) -> str:
    """At most 60 characters of a value: it may be base64. Lists and objects may hold anything, a prompt too."""
    if isinstance(value, _Unquoted):
        return "this"
    if value and isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value) if not isinstance(value, int | float) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"
