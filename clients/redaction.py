"""What must not be told, cut out of a text that people will read: by its form, and where it is known by its value."""

import json
import re

SHORTEST = 8  # characters of a value that is looked for; a shorter one would tear holes into words
_PART = 16  # of a long value that is quoted in part

_USERINFO = re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s/@\"'<>]*@", re.IGNORECASE)
_QUERY = re.compile(
    r"\b((?:https?|postgres\w*(?:\+\w+)?|rediss?|amqps?|sqs)://[^\s?\"'<>]*)\?[^\s\"'<>]*", re.IGNORECASE
)
_NAMED = re.compile(  # `X-Amz-Signature=…` of a path without its host, `password=…` of a connection string
    r"\b([\w-]*(?:signature|credential|token|password|secret|api[_-]?key|\bsig)=)[^\s&\"'<>]+", re.IGNORECASE
)
_HEADER = re.compile(r"\b(bearer|basic) +[\w.~+/=-]{8,}", re.IGNORECASE)
_KEY = re.compile(r"\b(pb_[0-9A-Za-z]{4,}_|whsec_)[\w+/=-]+")  # keys of the HTTP API, secrets of webhooks


def without_secrets(text: str, *values: str) -> str:
    """`text` without user names and queries of URLs, keys, tokens and signatures, and without `values`.

    A value is found as JSON escapes it too, and where its first 16 characters or more are quoted.
    """
    for value in values:
        for form in {value, json.dumps(value)[1:-1]}:
            text = _without(text, form)
    text = _QUERY.sub(r"\1?[query]", _USERINFO.sub(r"\1", text))
    text = _KEY.sub(r"\1[secret]", _NAMED.sub(r"\1[secret]", text))
    return _HEADER.sub(r"\1 [secret]", text)


def _without(text: str, value: str) -> str:
    if len(value) < SHORTEST:
        return text
    text = text.replace(value, "[secret]")
    while len(value) > _PART and value[:_PART] in text:
        text = text.replace(value[: _longest_start(text, value)], "[secret]")
    return text


def _longest_start(text: str, value: str) -> int:
    """How much of the value's start, at least `_PART` characters, stands in the text: a part of a part does so too."""
    low, high = _PART, len(value)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if value[:middle] in text else (low, middle - 1)
    return low
