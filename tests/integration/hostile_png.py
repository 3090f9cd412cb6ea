"""PNGs that unfold, contradict themselves or never end."""

import io
import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence

from PIL import Image

from tests.integration.hostile_jpeg import Hostile, photo

_CUT, _BOMB = "truncated_image", "image_too_large"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIECE = 2**20


def png_files() -> Iterator[Hostile]:
    return itertools.chain(_headers(), _bombs(), _chunks(), _damages(), _kinds())


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def header(width: int, height: int, depth: int = 8, colour: int = 2, *, interlace: int = 0, packing: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, packing, 0, interlace))


def png(head: bytes, pixels: bytes, *before: bytes, behind: Sequence[bytes] = ()) -> bytes:
    return _SIGNATURE + head + b"".join(before) + chunk(b"IDAT", pixels) + b"".join(behind) + chunk(b"IEND")


def zeros(length: int) -> bytes:
    """So many packed into a thousandth, without packing them all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(_PIECE)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    last = rest.compress(bytes(length % _PIECE)) + rest.flush()
    return b"\x78\xda" + piece * (length // _PIECE) + last + struct.pack(">HH", length % 65521, 1)


def flat(width: int, height: int, depth: int = 8, colour: int = 2, *before: bytes) -> bytes:
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    return png(header(width, height, depth, colour), zeros(height * (1 + -(-width * bits // 8))), *before)


def _headers() -> Iterator[Hostile]:
    pixels = zeros(49 * 16)
    for name, head, outcome in (
        ("0 x 16", header(0, 16), _CUT),
        ("16 x 0", header(16, 0), _CUT),
        ("2**31-1 each way", header(2**31 - 1, 2**31 - 1), _BOMB),
        ("2**32-1 each way", header(2**32 - 1, 2**32 - 1), _BOMB),
        ("100,000 each way", header(100_000, 100_000), _BOMB),
        ("colour type 5", header(16, 16, 8, 5), _CUT),
        ("3 bits", header(16, 16, 3, 0), _CUT),
        ("16 bits of palette", header(16, 16, 16, 3), _CUT),
        ("unknown packing", header(16, 16, packing=1), "16x16"),
        ("a header too short", chunk(b"IHDR", bytes(12)), _CUT),
        ("no header", b"", _CUT),
        ("two headers", header(16, 16) + header(9_000, 9_000), _CUT),
        ("a wrong checksum", header(16, 16)[:-1] + b"\0", _CUT),
        ("Apple's own header", chunk(b"CgBI", bytes(4)) + header(16, 16), _CUT),
    ):
        yield f"png with {name}", png(head, pixels), outcome


def _bombs() -> Iterator[Hostile]:
    turned = chunk(b"eXIf", b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHHI", 0x0112, 3, 1, 6, 0, 0))
    yield "png, 190 megapixels of black", flat(16_000, 11_900), "16000x11900"
    yield "png, 190 megapixels in 64 bits each", flat(16_000, 11_900, 16, 6), _BOMB
    yield "png, 190 megapixels of black, turned", flat(16_000, 11_900, 8, 2, turned), _BOMB
    yield "png, 190 megapixels of one bit", flat(16_000, 11_900, 1, 0), "16000x11900"
    yield "png, 1 x 65535", flat(1, 65_535), "1x65535"
    yield "png, 65535 x 1, turned", flat(65_535, 1, 8, 2, turned), "1x65535"
    yield "png, a gigabyte behind 16 x 16 pixels", png(header(16, 16), zeros(2**30)), "16x16"
    text = zlib.compress(bytes(100 * 2**20), 1)
    yield "png, 100 MB of packed text", png(header(16, 16), zeros(784), chunk(b"zTXt", b"k\0\0" + text)), _CUT
    yield "png, 100 MB of packed words", png(header(16, 16), zeros(784), chunk(b"iTXt", b"k\0\1\0\0\0" + text)), _CUT
    yield "png, 100 MB of colour profile", png(header(16, 16), zeros(784), chunk(b"iCCP", b"p\0\0" + text)), _CUT
    many = b"".join(chunk(b"zTXt", b"%d\0\0" % number + zlib.compress(bytes(10**6), 1)) for number in range(100))
    yield "png, 100 texts of 1 MB", png(header(16, 16), zeros(784), many), _CUT
    big = chunk(b"tEXt", b"k\0" + bytes(24 * 2**20))
    yield "png, 24 MB of text", png(header(16, 16), zeros(784), big), "16x16"


def _chunks() -> Iterator[Hostile]:
    row = zeros(784)
    yield "png, a million empty chunks", png(header(16, 16), row, chunk(b"teSt") * 1_000_000), _CUT
    pieces = b"".join(chunk(b"IDAT", row[at : at + 1]) for at in range(len(row)))
    yield "png, a byte a chunk", _SIGNATURE + header(16, 16) + pieces + chunk(b"IEND"), "16x16"
    empty = chunk(b"IDAT") * 50_000
    yield "png, 50,000 empty pieces of pixels", _SIGNATURE + header(16, 16) + empty + png(b"", row)[8:], "16x16"
    yield "png, a chunk of 4 GB", _SIGNATURE + header(16, 16) + b"\xff\xff\xff\xffIDAT" + row, _CUT
    yield "png, pixels before the header", png(b"", row)[:-12] + header(16, 16) + chunk(b"IEND"), _CUT
    yield "png, an unknown critical chunk", png(header(16, 16), row, chunk(b"TEST", b"?")), "16x16"
    yield "png, chunks without a name", png(header(16, 16), row, chunk(b"\0\0\0\0")), _CUT
    control = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    yield "png, two thousand million frames", png(header(16, 16), row, control), "16x16"
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 60_000, 60_000, 0, 0, 1, 1, 0, 0))
    yield "png, a frame larger than itself", png(header(16, 16), row, chunk(b"acTL", b"\0\0\0\1\0\0\0\0"), frame), _CUT


def _damages() -> Iterator[Hostile]:
    data, row = photo("PNG"), zeros(784)
    yield "png, only a signature", _SIGNATURE, _CUT
    yield "png, only a header", _SIGNATURE + header(16, 16), _CUT
    yield "png without pixels", _SIGNATURE + header(16, 16) + chunk(b"IEND"), _CUT
    yield "png without its end", data[:-12], _CUT
    yield "png, its end cut", data[:-1], _CUT
    yield "png, a row missing", png(header(16, 17), row), _CUT
    yield "png, pixels that are not packed", png(header(16, 16), bytes(784)), _CUT
    yield "png, pixels packed with what is not there", png(header(16, 16), b"\x78\xbb" + row[2:]), _CUT
    yield "png, a filter that is not there", png(header(16, 16), zlib.compress(b"\x09" * 784)), _CUT
    for name in (b"IHDR", b"IDAT", b"IEND"):
        at = data.index(name) - 4
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        spoilt = data[:end] + bytes([data[end] ^ 1]) + data[end + 1 :]
        yield f"png, a wrong checksum of {name.decode()}", spoilt, _CUT
    middle = len(data) // 2
    yield "png, a bit turned", data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :], _CUT


def _kinds() -> Iterator[Hostile]:
    """Unusual, and right."""
    for mode in ("1", "L", "LA", "P", "RGBA"):
        yield f"png in {mode}", photo("PNG", mode), "176x132"
    grey = zlib.compress(bytes(33) * 16)
    yield "png, 16 bits of grey", png(header(16, 16, 16, 0), grey), "16x16"
    yield "png, 16 bits a colour", png(header(16, 16, 16, 6), zeros(129 * 16)), "16x16"
    yield "png, a palette that is not there", png(header(16, 16, 8, 3), zlib.compress(b"\0" + b"\xff" * 16) * 1), _CUT
    yield (
        "png, beyond its palette",
        png(header(16, 16, 8, 3), zlib.compress((b"\0" + b"\xff" * 16) * 16), chunk(b"PLTE", b"abc")),
        "16x16",
    )
    frames = [Image.new("RGB", (40, 30), (number, 0, 0)) for number in range(60)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    yield "png, animated", file.getvalue(), "40x30"
    interlaced = zeros(sum(rows * (1 + 3 * columns) for columns, rows in _adam7(1000, 701)))
    yield "png, interlaced", png(header(1000, 701, interlace=1), interlaced), "1000x701"
    yield "png, interlaced, one pixel", png(header(1, 1, interlace=1), zeros(4)), "1x1"
    short = png(header(1000, 702, interlace=1), interlaced)
    yield "png, interlaced, a row missing", short, _CUT


def _adam7(width: int, height: int) -> list[tuple[int, int]]:
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    return [(len(range(x, width, dx)), len(range(y, height, dy))) for x, y, dx, dy in steps]
