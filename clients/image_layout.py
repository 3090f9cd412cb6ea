"""How the bytes of a picture are laid out: where it ends and what lies behind its pixels, told without decoding.

All of it is bounded by the bytes given and believes no length that they state.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from clients.image_jpeg import has_jpeg_end
from clients.image_png import png_chunks

_CHUNKS_BEFORE = 16  # of a WebP, before its picture; there are up to three
_HEIF_BOXES = (b"ftyp", b"meta", b"moov", b"mdat")  # anything else behind them may be a trailer that is no box at all


class _Box(NamedTuple):
    """`end`: where it ends by its own word, which may be beyond the bytes."""

    name: bytes
    start: int
    end: int


def is_cut_off(kind: str, data: bytes, total: int) -> bool:
    """Whether the end of a picture is missing. `kind`: JPEG, PNG, WEBP or HEIF; `total`: bytes of the whole file.

    Of a JPEG or PNG of which only the start is given it says False. A False proves nothing; a True does.
    """
    if kind == "WEBP":
        return _little(data, 4) + 8 > total
    if kind == "HEIF":
        return any(box.end > total for box in _boxes(data))
    if len(data) < total:
        return False
    if kind == "JPEG":
        return not has_jpeg_end(data)
    return all(chunk.name != b"IEND" for chunk in png_chunks(data))


def exif_behind_pixels(data: bytes) -> bytes | None:
    """EXIF of a PNG, wherever in the file, in the form in which a JPEG holds it."""
    for chunk in png_chunks(data):
        if chunk.name == b"eXIf" and chunk.end <= len(data):
            return b"Exif\0\0" + data[chunk.start : chunk.end]
    return None


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP by its first 30 bytes (RFC 9649, 2.5 to 2.7); None if it is none."""
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L" and data[20] == 0x2F:
        bits = _little(data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if data[12:16] == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        size = _little(data, 26)
        return size & 0x3FFF, size >> 16 & 0x3FFF
    return None


def picture_bytes(kind: str, data: bytes, total: int) -> int:
    """At most so many of a WEBP or HEIF are pictures; the rest is said about them, or stands behind them."""
    if kind == "HEIF":
        return sum(end - at for name, at, end in _any_boxes(data, total) if name in (b"mdat", b"meta")) or total
    at = 12
    for _ in range(_CHUNKS_BEFORE):
        length = _little(data, at + 4)
        if data[at : at + 4] in (b"VP8 ", b"VP8L", b"ANMF"):  # of a film the first frame is decoded
            return min(length, total - at)
        at += 8 + length + length % 2
    return total


def _any_boxes(data: bytes, total: int) -> Iterator[_Box]:
    """As `_boxes`, but whatever they are; the last one goes as far as the file."""
    at = 0
    while at + 16 <= len(data):
        length, name, long_length = struct.unpack_from(">I4sQ", data, at)
        end = min(at + (long_length if length == 1 else length), total)
        yield _Box(name, at, end if end >= at + 8 else total)
        at = end if end >= at + 8 else total


def _little(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _boxes(data: bytes) -> Iterator[_Box]:
    """The outermost boxes of a HEIF (ISO/IEC 14496-12, 4.2), as long as they are known ones."""
    at = 0
    while at + 16 <= len(data):
        length, name, long_length = struct.unpack_from(">I4sQ", data, at)
        end = at + (long_length if length == 1 else length)
        if name not in _HEIF_BOXES or end <= at:  # a length of 0: to the end of the file
            return
        yield _Box(name, at, end)
        at = end
