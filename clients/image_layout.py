"""How the bytes of a picture are laid out: where it ends and what lies behind its pixels, told without decoding.

All of it is bounded by the bytes given and believes no length that they state.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_TAIL = 4096  # bytes; most pictures end there, some phones append a clip or a trailer
_HEIF_BOXES = (b"ftyp", b"meta", b"moov", b"mdat")  # anything else behind them may be a trailer that is no box at all


class _Piece(NamedTuple):
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
        return not _has_end_marker(data)
    return all(chunk.name != b"IEND" for chunk in _png_chunks(data))


def exif_behind_pixels(data: bytes) -> bytes | None:
    """EXIF of a PNG, wherever in the file, in the form in which a JPEG holds it."""
    for chunk in _png_chunks(data):
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


def _little(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _has_end_marker(data: bytes) -> bool:
    """Looked for behind the header, since the thumbnail in EXIF has one of its own; in pixels it cannot occur."""
    pixels = _start_of_scan(data)
    return data.find(b"\xff\xd9", max(pixels, len(data) - _TAIL)) >= 0 or data.find(b"\xff\xd9", pixels) >= 0


def _start_of_scan(data: bytes) -> int:
    """Where a JPEG's segments end and its pixels begin, or where the segments make no more sense."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # filling
            at += 1
            continue
        segment_end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xDA or segment_end > len(data):
            return at
        at = segment_end
    return at


def _png_chunks(data: bytes) -> Iterator[_Piece]:
    at = 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield _Piece(name, at + 8, at + 8 + length)
        if name == b"IEND":
            return
        at += length + 12


def _boxes(data: bytes) -> Iterator[_Piece]:
    """The outermost boxes of a HEIF (ISO/IEC 14496-12, 4.2), as long as they are known ones."""
    at = 0
    while at + 16 <= len(data):
        length, name, long_length = struct.unpack_from(">I4sQ", data, at)
        end = at + (long_length if length == 1 else length)
        if name not in _HEIF_BOXES or end <= at:  # a length of 0: to the end of the file
            return
        yield _Piece(name, at, end)
        at = end
