"""Work that would hold up an event loop, done in a thread: pictures of megabytes, as bytes or as base64 in JSON."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_AT_ONCE = 2**20  # bytes or characters; to hash, pack or parse them takes some milliseconds


async def apart(weight: int, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function` returns or raises; `weight`: bytes or characters that it goes through."""
    if weight > _AT_ONCE:
        return await asyncio.to_thread(function, *args, **kwargs)
    return function(*args, **kwargs)


def weight_of(body: Mapping[str, Any] | None) -> int:
    """Characters of the texts in a request or an answer of Phota, or in its `result`: there pictures are."""
    outer = body or {}
    inner = outer.get("result")
    values = [*outer.values(), *(inner.values() if isinstance(inner, dict) else ())]
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    return sum(len(text) for text in texts if isinstance(text, str))
