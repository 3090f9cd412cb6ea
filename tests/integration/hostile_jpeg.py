"""JPEGs that no camera writes: each with what should become of it, a code of BadImage or its size, upright."""

import io
import itertools
import struct
from collections.abc import Iterator
from typing import Any

from PIL import Image

Hostile = tuple[str, bytes, str]  # name, content, outcome

_CUT, _BOMB, _SLOW = "truncated_image", "image_too_large", "image_too_slow"
_MB = 2**20


def jpeg_files() -> Iterator[Hostile]:
    return itertools.chain(_frames(), _damages(), _bombs(), _segments(), _exifs(), _kinds())


def photo(kind: str, mode: str = "RGB", size: tuple[int, int] = (176, 132), **options: Any) -> bytes:
    """Noise, so that each byte counts; some 40 KB."""
    noise = [Image.effect_noise(size, 60 + number) for number in range(4)]
    image = noise[0].convert(mode) if mode in ("1", "L", "P") else Image.merge(mode, noise[: len(mode)])
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_segments(*segments: bytes, behind: bytes = b"") -> bytes:
    """A good photo with them at its beginning."""
    data = photo("JPEG", quality=60)
    return b"".join([data[:2], *segments, data[2:], behind])


def exif_of(orientation: bytes, *, next_ifd: int = 0, more: bytes = b"") -> bytes:
    """`orientation`: type, count and value of the tag, as TIFF writes them."""
    entries = struct.pack("<H", 0x0112) + orientation + more
    head = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries) // 12)
    return segment(0xE1, head + entries + struct.pack("<I", next_ifd))


def flat(width: int, height: int, *segments: bytes, frame: int = 0xC0, scans: int = 0) -> bytes:
    """Grey, in six bits for 64 pixels; `scans` more of them follow, each of which changes nothing."""
    small = io.BytesIO()
    Image.new("L", (8, 8), 128).save(small, "JPEG")
    data = small.getvalue()
    start, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    size = bytes([8]) + struct.pack(">HH", height, width) + data[start + 9 : start + 13]
    tables = data[2:start] + segment(frame, size) + data[start + 13 : scan]
    blocks = -(-width // 8) * -(-height // 8)
    if frame == 0xC2:
        no_more = segment(0xC4, b"\x10\x01" + bytes(15) + b"\xe0")  # one code: the end of 16,384 blocks
        ends = segment(0xDA, b"\1\1\0\1\x3f\0") + bytes(-(-blocks // 16384) * 2)
        pixels = segment(0xDA, b"\1\1\0\0\0\0") + bytes(blocks // 4 + 1) + no_more + ends * scans
    else:
        pixels = data[scan : scan + 10] + b"\x28\xa2\x8a" * (blocks // 4 + 1)
    return data[:2] + b"".join(segments) + tables + pixels + b"\xff\xd9"


def _frames() -> Iterator[Hostile]:
    """The frame header says what is not so."""
    data = photo("JPEG")
    at = data.index(b"\xff\xc0")
    for name, place, value, outcome in (
        ("0 high", 5, b"\0\0", _CUT),
        ("0 wide", 7, b"\0\0", _CUT),
        ("65535 x 65535", 5, b"\xff\xff\xff\xff", _BOMB),
        ("65500 x 3100", 5, b"\x0c\x1c\xff\xdc", _BOMB),
        ("12 bits", 4, b"\x0c", _CUT),
        ("2 colours", 9, b"\2", _CUT),
        ("255 colours", 9, b"\xff", _CUT),
        ("lossless", 1, b"\xc3", _CUT),
        ("hierarchical", 1, b"\xc5", _CUT),
        ("a future frame", 1, b"\xf0", _CUT),
        ("a frame of length 0", 2, b"\0\0", _CUT),
        ("samplings of 15", 11, b"\xff", _CUT),
        ("samplings of 0", 11, b"\0", _CUT),
    ):
        yield f"jpeg with {name}", data[: at + place] + value + data[at + place + len(value) :], outcome
    yield "jpeg with two frames", data[:at] + data[at : at + 19] + data[at:], _CUT


def _damages() -> Iterator[Hostile]:
    data = photo("JPEG")
    scan = data.index(b"\xff\xda")
    yield "jpeg of three bytes", data[:3], _CUT
    yield "jpeg, only a header", data[:scan], _CUT
    yield "jpeg, begun and ended", b"\xff\xd8\xff\xd9", _CUT
    yield "jpeg without its end", data[:-2], _CUT
    yield "jpeg without pixels", data[: scan + 14] + b"\xff\xd9", "176x132"  # grey, as every viewer shows it
    for name, marker, outcome in (("Huffman tables", b"\xff\xc4", "176x132"), ("quantization", b"\xff\xdb", _CUT)):
        at = data.index(marker)
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield f"jpeg without {name}", data[:at] + data[end:], outcome  # the usual ones are known without being told
    yield "jpeg in a jpeg", data[:2] + data + data[2:], _CUT
    yield "jpeg in its own comment", with_segments(segment(0xFE, data[:60_000])), "176x132"


def _bombs() -> Iterator[Hostile]:
    turned = exif_of(struct.pack("<HIHH", 3, 1, 6, 0))
    yield "jpeg, 190 megapixels of grey", flat(16_000, 11_900), "16000x11900"
    yield "jpeg, 190 megapixels of grey, turned", flat(16_000, 11_900, turned), _BOMB
    yield (
        "jpeg, 190 megapixels of grey behind 4 MB of comments",
        flat(16_000, 11_900, turned, segment(0xFE, bytes(65_000)) * 64),
        _BOMB,
    )
    yield "jpeg, 190 megapixels of grey before 16 MB of zeros", flat(16_000, 11_900, turned) + bytes(16 * _MB), _BOMB
    yield "jpeg, progressive, 190 megapixels", flat(16_000, 11_900, frame=0xC2), _BOMB
    yield "jpeg, progressive, 90 scans of 30 megapixels", flat(6_000, 5_000, frame=0xC2, scans=90), "6000x5000"
    yield "jpeg, progressive, 30 scans of 120 megapixels", flat(12_000, 10_000, frame=0xC2, scans=30), _SLOW
    yield "jpeg, progressive, 50,000 scans", flat(4_000, 3_000, frame=0xC2, scans=50_000), _SLOW
    yield "jpeg, 1 x 65500", flat(1, 65_500), "1x65500"
    yield "jpeg, 65500 x 1, turned", flat(65_500, 1, turned), "1x65500"


def _segments() -> Iterator[Hostile]:
    yield "jpeg, 24 MB of filling", with_segments(b"\xff" * 24 * _MB), _CUT
    yield "jpeg, 24 MB between its segments", with_segments(segment(0xFE, b"") + bytes(24 * _MB)), _CUT
    yield "jpeg, 24 MB of escaped bytes", with_segments(b"\xff\0" * 12 * _MB), _CUT
    yield "jpeg, a million empty comments", with_segments(segment(0xFE, b"") * 1_000_000), _CUT
    yield "jpeg, a million restarts", with_segments(b"\xff\xd0" * 1_000_000), _CUT
    yield "jpeg, 400 segments of EXIF", with_segments(segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 400), _CUT
    yield "jpeg, 24 MB of comments", with_segments(segment(0xFE, bytes(65_000)) * 380), "176x132"
    profile = segment(0xE2, b"ICC_PROFILE\0\1\xff" + bytes(65_000))
    yield "jpeg, 16 MB of colour profile", with_segments(profile * 255), "176x132"
    yield (
        "jpeg, 16 MB of XMP",
        with_segments(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x:" * 20_000) * 256),
        "176x132",
    )
    yield (
        "jpeg, a million pictures by its index",
        with_segments(
            segment(0xE2, b"MPF\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0xB001, 4, 1, 10**6) + bytes(4))
        ),
        "176x132",
    )
    resources = b"8BIM\4\4\0\0" + struct.pack(">I", 2**32 - 1)
    yield "jpeg, Photoshop resources of 4 GB", with_segments(segment(0xED, b"Photoshop 3.0\0" + resources)), "176x132"


def _exifs() -> Iterator[Hostile]:
    """Orientations of odd types and directories that lead in circles; a picture is good whatever they say."""
    for name, kind, count, value, outcome in (
        ("0", 3, 1, b"\0\0\0\0", "176x132"),
        ("6", 3, 1, b"\6\0\0\0", "132x176"),
        ("9", 3, 1, b"\t\0\0\0", "176x132"),
        ("65535", 3, 1, b"\xff\xff\0\0", "176x132"),
        ("6 as a byte", 1, 1, b"\6\0\0\0", "176x132"),
        ("6 as text", 2, 2, b"6\0\0\0", "176x132"),
        ("6 as a long", 4, 1, b"\6\0\0\0", "132x176"),
        ("a fraction beyond the end", 5, 1, b"\xff\xff\0\0", "176x132"),
        ("6 signed", 8, 1, b"\6\0\0\0", "132x176"),
        ("minus 6", 8, 1, b"\xfa\xff\xff\xff", "176x132"),
        ("a float", 11, 1, struct.pack("<f", 6.0), "176x132"),
        ("two of them", 3, 2, b"\6\0\6\0", "132x176"),
        ("none of them", 3, 0, b"\6\0\0\0", "176x132"),
        ("four thousand millions of them", 3, 2**32 - 1, b"\6\0\0\0", "176x132"),
        ("an unknown type", 99, 1, b"\6\0\0\0", "176x132"),
    ):
        exif = exif_of(struct.pack("<HI", kind, count) + value)
        yield f"jpeg, orientation {name}", with_segments(exif), outcome
    six = struct.pack("<HIHH", 3, 1, 6, 0)
    inner = struct.pack("<HHII", 0x8769, 4, 1, 8)
    yield "jpeg, EXIF that leads to itself", with_segments(exif_of(six, next_ifd=8)), "132x176"
    yield "jpeg, EXIF within itself", with_segments(exif_of(six, more=inner)), "132x176"
    yield "jpeg, EXIF that leads nowhere", with_segments(exif_of(six, next_ifd=2**32 - 1)), "132x176"
    yield (
        "jpeg, EXIF of 65,535 entries",
        with_segments(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\1\0\0\0\6\0\0\0" * 5400)),
        "132x176",
    )
    thumbnail = struct.pack("<HHIIHHII", 0x0201, 4, 1, 0, 0x0202, 4, 1, 2**32 - 1)
    yield "jpeg, EXIF with a preview of 4 GB", with_segments(exif_of(six, more=thumbnail, next_ifd=8)), "132x176"
    yield "jpeg, EXIF cut off", with_segments(segment(0xE1, b"Exif\0\0II*\0")), "176x132"


def _kinds() -> Iterator[Hostile]:
    """Unusual, and right."""
    yield "jpeg in CMYK", photo("JPEG", "CMYK"), "176x132"
    yield "jpeg in grey", photo("JPEG", "L"), "176x132"
    yield "jpeg, progressive", photo("JPEG", progressive=True), "176x132"
    yield "jpeg with restarts", photo("JPEG", restart_marker_blocks=1), "176x132"
    yield "jpeg of one pixel", photo("JPEG", size=(1, 1)), "1x1"
    yield "jpeg, two pictures", photo("MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))]), "176x132"
    yield "jpeg in CMYK, turned", photo("JPEG", "CMYK", exif=b"Exif\0\0" + _turned()), "132x176"


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 8
    return exif.tobytes().removeprefix(b"Exif\0\0")
