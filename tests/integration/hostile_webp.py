"""WebPs whose container says something else than their pictures."""

import io
import struct
from collections.abc import Iterator

from PIL import Image

from tests.integration.hostile_jpeg import Hostile, photo

_CUT, _BOMB = "truncated_image", "image_too_large"


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def chunk(name: bytes, content: bytes, *, size: int | None = None) -> bytes:
    length = struct.pack("<I", len(content) if size is None else size)
    return name + length + content + bytes(len(content) % 2)


def canvas(width: int, height: int, flags: int = 0) -> bytes:
    return chunk(b"VP8X", bytes([flags, 0, 0, 0]) + _three(width - 1) + _three(height - 1))


def frame(picture: bytes, x: int = 0, y: int = 0, width: int = 16, height: int = 16) -> bytes:
    head = _three(x // 2) + _three(y // 2) + _three(width - 1) + _three(height - 1) + _three(10) + b"\0"
    return chunk(b"ANMF", head + picture)


def _three(number: int) -> bytes:
    return struct.pack("<I", number)[:3]


def webp_files() -> Iterator[Hostile]:
    small = photo("WEBP", size=(16, 16), lossless=True)[12:]
    anim = chunk(b"ANIM", bytes(6))
    yield from _containers(small, anim)
    yield from _bombs(small, anim)
    yield from _kinds(small)


def _containers(small: bytes, anim: bytes) -> Iterator[Hostile]:
    yield "webp, only a header", b"RIFF\x04\0\0\0WEBP", _CUT
    yield "webp of nothing but a canvas", riff(canvas(16, 16)), _CUT
    yield "webp, animated, no frame", riff(canvas(16, 16, 2), anim), _CUT
    yield "webp, a frame outside", riff(canvas(16, 16, 2), anim, frame(small, x=14)), _CUT
    yield "webp, a frame of another size", riff(canvas(64, 64, 2), anim, frame(small, width=60)), "64x64"
    yield "webp, a canvas of another size", riff(canvas(64, 64), small), _CUT
    yield "webp, no bytes by its word", riff(small, size=0), _CUT
    yield "webp, 4 GB by its word", riff(small, size=2**32 - 1), _CUT
    yield "webp, a chunk of 4 GB", riff(chunk(b"VP8L", small[8:], size=2**32 - 2)), _CUT
    yield "webp, an empty picture", riff(chunk(b"VP8L", b"")), _CUT
    yield "webp, a lossless picture of zeros", riff(chunk(b"VP8L", b"\x2f" + bytes(60))), _CUT
    yield "webp, version 7", riff(chunk(b"VP8L", b"\x2f\xff\xff\xff\xff" + small[13:])), _BOMB
    yield "webp, a picture of noise", riff(chunk(b"VP8 ", b"\x30\1\0\x9d\1\x2a\x10\0\x10\0" + b"\xa5" * 99)), _CUT
    yield "webp, 0 x 0", riff(chunk(b"VP8 ", b"\x30\1\0\x9d\1\x2a\0\0\0\0" + bytes(99))), _CUT
    yield "webp in a webp", riff(riff(small)), _CUT
    yield "webp, half a million unknown chunks", riff(canvas(16, 16), small, chunk(b"test", b"") * 500_000), "16x16"
    yield "webp, 24 MB of EXIF", riff(canvas(16, 16, 8), small, chunk(b"EXIF", bytes(24 * 2**20))), "16x16"
    yield "webp, 24 MB of XMP", riff(canvas(16, 16, 4), small, chunk(b"XMP ", b"<x:" * 2**23)), "16x16"
    yield "webp, 24 MB of colour profile", riff(canvas(16, 16, 32), chunk(b"ICCP", bytes(24 * 2**20)), small), "16x16"
    yield (
        "webp, transparency of noise",
        riff(canvas(176, 132, 16), chunk(b"ALPH", b"\1" + b"\xa5" * 99), photo("WEBP")[12:]),
        _CUT,
    )


def _bombs(small: bytes, anim: bytes) -> Iterator[Hostile]:
    yield "webp, 16384 x 16384 for one frame", riff(canvas(16_384, 16_384, 2), anim, frame(small)), _BOMB
    yield "webp, 2**24 x 2**24", riff(canvas(2**24, 2**24, 2), anim, frame(small)), _BOMB
    yield "webp, 14,000 x 14,000 for one frame", riff(canvas(14_000, 14_000, 2), anim, frame(small)), _BOMB
    file = io.BytesIO()
    Image.new("RGB", (6_400, 6_400)).save(file, "WEBP", lossless=True, quality=0, method=0)
    black = file.getvalue()[12:]
    yield "webp, 41 megapixels of black", riff(black), _BOMB
    yield (
        "webp, 41 megapixels of black and 8 MB of EXIF",
        riff(canvas(6_400, 6_400, 8), black, chunk(b"EXIF", bytes(8 * 2**20))),
        _BOMB,
    )
    yield "webp, 41 megapixels of black and 8 MB behind it", riff(black) + bytes(8 * 2**20), _BOMB
    frames = frame(small) * 20_000
    yield "webp, 20,000 frames", riff(canvas(16, 16, 2), anim, frames), "16x16"
    yield "webp, 4,000 x 4,000 for many frames", riff(canvas(4_000, 4_000, 2), anim, frame(small) * 2_000), "4000x4000"


def _kinds(small: bytes) -> Iterator[Hostile]:
    """Unusual, and right."""
    exif = b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHHI", 0x0112, 3, 1, 6, 0, 0)
    yield "webp, turned", riff(canvas(16, 16, 8), small, chunk(b"EXIF", exif)), "16x16"
    yield "webp, transparent", photo("WEBP", "RGBA"), "176x132"
    yield "webp, 16383 x 1", photo("WEBP", size=(16_383, 1)), "16383x1"
    yield "webp, 1 x 16383", photo("WEBP", size=(1, 16_383)), "1x16383"
    frames = [Image.new("RGB", (40, 30), (number, 0, 0)) for number in range(60)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    yield "webp, animated", file.getvalue(), "40x30"
