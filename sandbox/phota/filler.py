"""One valid picture of a given size, for benchmarks."""

import functools
import io
import random

from PIL import Image

from sandbox.painting.noise import grain

_COMMENT_MAX = 65_000
_PROBE = 256


@functools.cache
def filler(size: int, extension: str) -> bytes:
    """A picture of `size` bytes (a few percent less for png, never under about 1 KB), always the same."""
    picture = _encode(_PROBE, extension)
    side = max(16, int(_PROBE * (size / len(picture)) ** 0.5))
    while len(picture := _encode(side, extension)) > size and side > 16:
        side -= max(1, side // 50)
    return _pad(picture, size) if extension == "jpg" else picture


def stamped(picture: bytes, mark: str) -> bytes:
    """A JPEG with `mark` in a comment, so that it can be told from others of its kind; other formats as they are."""
    if not picture.startswith(b"\xff\xd8"):
        return picture
    comment = mark.encode()
    return picture[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + picture[2:]


def _encode(side: int, extension: str) -> bytes:
    target = io.BytesIO()
    sky = Image.linear_gradient("L").resize((side, side)).convert("RGB")
    chance = random.Random(1)  # noqa: S311 - chance, not secrets
    noisy = Image.blend(sky, grain((side, side), chance).convert("RGB"), 0.1)
    noisy.save(target, "JPEG" if extension == "jpg" else "PNG", quality=85)
    return target.getvalue()


def _pad(jpeg: bytes, size: int) -> bytes:
    """Comment segments after the first marker make up what is missing; less than a segment's head stays missing."""
    head, tail = jpeg[:2], jpeg[2:]
    while (missing := size - len(head) - len(tail)) >= 4:
        length = min(missing - 4, _COMMENT_MAX)
        head += b"\xff\xfe" + (length + 2).to_bytes(2, "big") + b" " * length
    return head + tail
