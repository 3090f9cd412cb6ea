"""A PNG's pixels checked to the last row, in the memory of a few rows: they are unpacked, and not kept.

A file of a few hundred kilobytes may unfold to a gigabyte, so it never does at once.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from clients.image_faults import BadImage, damaged

_MOST_CHUNKS = 100_000  # encoders write one for every 8 KB
_FED, _UNPACKED = 2**16, 2**20  # bytes at once
_QUICK = 600_000_000  # bytes: 200 megapixels in 8 bits a colour, whatever they show; 1.3 s
_LARGEST_RATIO = 50
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ADAM7 = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
_LAST_FILTER = 4  # each row begins with the number of its filter


class Chunk(NamedTuple):
    """`start` and `end` of its content; `end` by its own word, which may be beyond the bytes."""

    name: bytes
    start: int
    end: int


def png_chunks(data: bytes) -> Iterator[Chunk]:
    """Raise BadImage for far too many."""
    at = 8
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        yield Chunk(name, at + 8, at + 8 + length)
        if name == b"IEND":
            return
        at += length + 12
    raise damaged(f"it has more than {_MOST_CHUNKS:,} pieces")


def check_png(data: bytes) -> None:
    """Unpack every row and compare the checksums of all chunks. Raise BadImage."""
    chunks, bytes_of = list(png_chunks(data)), memoryview(data)
    for chunk in chunks:
        checksum = bytes_of[chunk.end : chunk.end + 4]
        if zlib.crc32(bytes_of[chunk.start - 4 : chunk.end]) != int.from_bytes(checksum, "big") or len(checksum) < 4:
            raise damaged(f"the checksum of its {chunk.name.decode('latin-1')} chunk is wrong")
    if [place for place, chunk in enumerate(chunks) if chunk.name == b"IHDR"] != [0]:
        raise damaged("it does not begin with its only header")
    passes = _passes(*struct.unpack_from(">IIBBBBB", data, chunks[0].start))
    packed = [bytes_of[chunk.start : chunk.end] for chunk in chunks if chunk.name == b"IDAT"]
    _check_size(sum(row * rows for row, rows in passes), sum(map(len, packed)))
    _check_rows(passes, _unpacked(packed))


def _check_size(unpacked: int, packed: int) -> None:
    """Raise BadImage for what takes seconds to unpack and is no photo; one of more than 8 bits packs to a half."""
    if unpacked > _QUICK and packed * _LARGEST_RATIO < unpacked:
        reason = f"{unpacked / 1e6:,.0f} MB of pixels unfold from {packed / 1000:,.0f} KB"
        raise BadImage("image_too_large", f"the image looks like a decompression bomb: {reason}")


def _passes(width: int, height: int, depth: int, colour: int, *modes: int) -> list[tuple[int, int]]:
    """Bytes of a row and number of rows, of each pass (PNG specification, 8.2)."""
    steps = _ADAM7 if modes[2] else ((0, 1, 0, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, dx, y, dy in steps]
    bits = depth * _CHANNELS[colour]
    return [(1 + -(-columns * bits // 8), rows) for columns, rows in sizes if columns > 0 and rows > 0]


def _unpacked(packed: Iterable[memoryview]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    try:
        for part in packed:
            for at in range(0, len(part), _FED):
                left = bytes(part[at : at + _FED])
                while left and not unpacker.eof:
                    yield unpacker.decompress(left, _UNPACKED)
                    left = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error as error:
        raise damaged(str(error)) from None


def _check_rows(passes: list[tuple[int, int]], unpacked: Iterator[bytes]) -> None:
    """What comes behind the last row is not unpacked any more."""
    pixels = b""
    for row, rows in passes:
        left, at = row * rows, 0
        while left:
            while not pixels:
                piece = next(unpacked, None)
                if piece is None:
                    raise damaged("rows are missing")
                pixels = piece
            part, pixels = pixels[:left], pixels[left:]
            if max(part[-at % row :: row], default=0) > _LAST_FILTER:
                raise damaged("a row has an unknown filter")
            at, left = at + len(part), left - len(part)
