"""A JPEG's segments, walked without decoding: how much work and memory its pixels will take, and where it ends.

Pillow reads junk between segments byte by byte, and libjpeg goes through a picture once for each scan it is told of:
a few megabytes can keep both busy for minutes. So this looks first, within limits far above what cameras write.
"""

import re
from typing import NamedTuple

from clients.image_faults import BadImage, damaged

_MOST_SEGMENTS = 5_000  # depth maps and films within a photo come in pieces of 64 KB
_MOST_JUNK = 2**16  # bytes between segments; there should be none
_MOST_EXIF = 16  # segments; Pillow copies all that came before for each
_MOST_SCANS = 100  # encoders write about 10
_SCANNED_PIXELS = 3_000_000_000  # pixels times scans; 15 scans of 200 megapixels take about 2 s

_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset({0x00, 0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})  # markers without a length
_SCAN, _END = 0xDA, 0xD9
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # amid the pixels: neither escaped nor a restart
_NO_FILLING = re.compile(rb"[^\xff]")
_COEFFICIENT_BYTES = 2
_TAIL = 4096  # bytes; most pictures end there, some phones append a clip or a trailer


class JpegLayout(NamedTuple):
    """`scan`: where the pixels begin, or the segments make no more sense. `coefficients`: bytes that are held at once
    while it is decoded, 0 where it is decoded row by row."""

    scan: int
    is_scanned_often: bool
    coefficients: int


def read_jpeg(data: bytes) -> JpegLayout:
    """Raise BadImage for what no encoder writes."""
    frame, at, junk, segments, exif = b"", 2, 0, 0, 0
    while at + 4 <= len(data):
        found = _next_segment(data, at)
        junk, at = junk + found - at, found
        segments += 1
        if segments > _MOST_SEGMENTS or junk > _MOST_JUNK or exif > _MOST_EXIF:
            raise damaged("it has far more segments, or bytes between them, than any camera writes")
        marker = data[at + 1] if at + 1 < len(data) else _END
        if marker in _BARE:
            at += 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SCAN or end > len(data):
            break
        exif += marker == 0xE1 and data[at + 4 : at + 8] == b"Exif"
        frame = data[at + 1 : end] if marker in _FRAMES else frame
        at = end
    is_often = _is_scanned_often(frame, data[at : at + 5])
    return JpegLayout(at, is_often, _coefficients(frame) if is_often else 0)


def coded_bytes(data: bytes, layout: JpegLayout, pixels: int) -> int:
    """Bytes that pixels are made of, without what stands before and behind them.

    Raise BadImage if it takes too long to go through them all.
    """
    scans, at = 0, layout.scan
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.start() + 1], found.start()
        if marker == _END or (scans and not layout.is_scanned_often):
            return at - layout.scan
        scans += marker == _SCAN
        if scans > _MOST_SCANS or scans * pixels > _SCANNED_PIXELS:
            raise BadImage("image_too_slow", f"the image has {scans} or more scans, which take too long to decode")
        at += 2 if marker in _BARE else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return len(data) - layout.scan


def has_jpeg_end(data: bytes) -> bool:
    """Looked for behind the header, since the thumbnail in EXIF has one of its own; in pixels it cannot occur."""
    pixels = read_jpeg(data).scan
    return data.find(b"\xff\xd9", max(pixels, len(data) - _TAIL)) >= 0 or data.find(b"\xff\xd9", pixels) >= 0


def _next_segment(data: bytes, at: int) -> int:
    """Where the last 0xFF before the next marker stands."""
    start = data.find(b"\xff", at)
    filled = None if start < 0 else _NO_FILLING.search(data, start)
    return len(data) if filled is None else filled.start() - 1


def _is_scanned_often(frame: bytes, scan: bytes) -> bool:
    """Progressive, or its colours one after the other. `frame`: a segment from its marker on; `scan`: from 0xFF on."""
    if len(frame) < 9:
        return False
    return frame[0] in _PROGRESSIVE or (len(scan) == 5 and scan[4] < frame[8])


def _coefficients(frame: bytes) -> int:
    """Bytes of all coefficients: of each colour as many as it has samples (ITU T.81, A.1.1)."""
    height, width = int.from_bytes(frame[4:6], "big"), int.from_bytes(frame[6:8], "big")
    samplings = frame[10 : 9 + 3 * frame[8] : 3]
    most = max((byte >> 4 for byte in samplings), default=1) * max((byte & 15 for byte in samplings), default=1)
    samples = sum((byte >> 4) * (byte & 15) for byte in samplings)
    return _COEFFICIENT_BYTES * width * height * samples // max(1, most)
