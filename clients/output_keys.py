"""Under which key an output is stored: made from a template, cleaned, and different for different outputs.

A key that cleaning or shortening changed ends in `~` and a hash of everything it was made from, and so does one that
only looks like that. The rules of `validate_template` make the others differ.
"""

import hashlib
import json
import re
import string
import unicodedata
from collections.abc import Iterable

from clients.s3_uri import LONGEST_KEY

DEFAULT_TEMPLATE = "{batch}/{custom_id}-{index}.{ext}"
FIELDS = frozenset({"batch", "custom_id", "job_id", "index", "ext", "operation"})
_FREE = {"batch", "custom_id"}  # may contain anything, so two of them in one segment can be told apart by nothing

LONGEST_SEGMENT = 255  # bytes; what SeaweedFS, MinIO and file systems take between two slashes
_HASH_DIGITS = 16
_LOOKS_HASHED = re.compile(rf"~[0-9a-f]{{{_HASH_DIGITS}}}(?=/|\.|$)")


def validate_template(template: str) -> None:
    """Raise ValueError, in words for people, if two outputs could get the same key or the key be unusual."""
    for segment in template.split("/"):
        _check_segment(segment)
    names = set(_names(template))
    if "index" not in names:
        raise ValueError("the name template needs {index}: a job can have several outputs")
    if not names & {"custom_id", "job_id"}:
        raise ValueError("the name template needs {custom_id} or {job_id}")


def _check_segment(segment: str) -> None:
    if segment in ("", ".", "..") or _is_unclean(segment):
        raise ValueError("the name template must not be absolute, nor have empty, dotted or control parts")
    if _LOOKS_HASHED.search(segment):
        raise ValueError("the name template must not contain what looks like a hash")
    names = list(_names(segment))
    if len(_FREE & set(names)) > 1 and "job_id" not in names:
        raise ValueError("put a / between {batch} and {custom_id} in the name template")
    if re.search(r"[}\w]\{index\}|\{index\}[{\w]", segment):
        raise ValueError("put a - before and after {index} in the name template")


def _names(template: str) -> Iterable[str]:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"the name template is malformed: {error}") from None
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in FIELDS or spec or conversion:
            raise ValueError(f"{{{name}}} is not one of {', '.join(f'{{{each}}}' for each in sorted(FIELDS))}")
        yield name


def output_key(
    template: str = DEFAULT_TEMPLATE,
    *,
    batch: str,
    custom_id: str,
    job_id: str,
    index: int,
    ext: str,
    operation: str,
    prefix: str = "",
) -> str:
    """The key of output number `index` below `prefix`: at most 1,024 bytes, 255 a segment; no `..`, no empty or
    absolute part, no control characters.

    `ext` without its dot. The same arguments give the same key for ever. Raise ValueError as `validate_template` does.
    """
    validate_template(template)
    fields = {"custom_id": custom_id, "job_id": job_id, "index": index, "ext": ext, "operation": operation}
    raw = template.format(batch=batch.replace("/", "_"), **fields)
    cleaned = clean_path(raw)
    if cleaned == raw and "/" not in batch and not _LOOKS_HASHED.search(raw) and _fits(prefix, cleaned):
        return _joined(prefix, cleaned)
    made_from = json.dumps([template, batch, custom_id, job_id, index, ext, operation])
    digest = hashlib.sha256(made_from.encode()).hexdigest()[:_HASH_DIGITS]
    return _shortened(prefix, cleaned, ending=f"~{digest}.{ext}")


def clean_path(name: str) -> str:
    """A relative path without `..`, empty parts or control characters; empty if nothing is left."""
    return "/".join(_segments(name))


def _is_unclean(text: str) -> bool:
    return any(_is_control(letter) for letter in text)


def _is_control(letter: str) -> bool:
    """Control characters, lone surrogates, and what XML, the language of S3's listings, cannot say."""
    return unicodedata.category(letter) in ("Cc", "Cs") or letter in "\ufffe\uffff"


def _segments(key: str) -> list[str]:
    parts = ("".join("_" if _is_control(letter) else letter for letter in part) for part in key.split("/"))
    return [part for part in parts if part not in ("", ".", "..")]


def _joined(prefix: str, key: str) -> str:
    return "/".join(filter(None, [clean_path(prefix), key]))


def _fits(prefix: str, key: str) -> bool:
    is_short = all(len(part.encode()) <= LONGEST_SEGMENT for part in key.split("/"))
    return is_short and len(_joined(prefix, key).encode()) <= LONGEST_KEY


def _shortened(prefix: str, key: str, *, ending: str) -> str:
    """The key cut to its limits, with `ending` in place of its extension."""
    stem = key.removesuffix("." + ending.rpartition(".")[2])
    *folders, name = [_cut(part, LONGEST_SEGMENT) for part in stem.split("/")]
    room = min(LONGEST_SEGMENT, LONGEST_KEY - len(_joined(prefix, "x").encode()) + 1) - len(ending.encode())
    if room < 1:
        raise ValueError(f"the prefix leaves no room for a name: a key has {LONGEST_KEY} bytes at most")
    name = _cut(name, room) + ending
    while folders and len(_joined(prefix, "/".join([*folders, name])).encode()) > LONGEST_KEY:
        folders.pop()
    return _joined(prefix, "/".join([*folders, name]))


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, never half a character."""
    return text.encode()[:limit].decode(errors="ignore")
