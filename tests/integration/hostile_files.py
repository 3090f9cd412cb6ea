"""Some four hundred files that mean harm, are broken, or are not what they say, made from nothing, one at a time.

Each comes with its name, its bytes and what should become of it: a code of BadImage, or its size once it is upright.
"""

import io
import itertools
import random
import zipfile
from collections.abc import Iterator

from PIL import Image

from tests.integration.hostile_heif import heif_files
from tests.integration.hostile_jpeg import Hostile, jpeg_files, photo, segment, with_segments
from tests.integration.hostile_png import chunk, header, png, png_files, zeros
from tests.integration.hostile_webp import webp_files

_FORMATS = ("JPEG", "PNG", "WEBP", "HEIF")
_CUT, _OTHER, _NONE = "truncated_image", "unsupported_format", "not_an_image"


def hostile_files() -> Iterator[Hostile]:
    return itertools.chain(
        jpeg_files(), png_files(), webp_files(), heif_files(), _cut_files(), _strangers(), _nothing(), _polyglots()
    )


def _cut_files() -> Iterator[Hostile]:
    """A photo of each format, cut off at every kilobyte."""
    for kind in _FORMATS:
        data = photo(kind, quality=90) if kind != "PNG" else photo(kind, size=(128, 96))
        for end in range(1024, len(data), 1024):
            yield f"{kind.lower()} cut off after {end // 1024} KB", data[:end], _CUT


def _strangers() -> Iterator[Hostile]:
    """Formats that are not taken, some of them called photo.jpg."""
    for kind in ("GIF", "TIFF", "BMP", "AVIF", "ICO"):
        yield f"{kind} as it is", photo(kind, "L" if kind == "GIF" else "RGB"), _OTHER
    frames = [Image.new("L", (64, 48), number) for number in range(100)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    yield "GIF, animated", file.getvalue(), _OTHER
    yield "GIF, 65535 x 65535", b"GIF89a" + b"\xff" * 4 + bytes(99), _OTHER
    yield "BMP, 2**31 x 2**31", b"BM" + bytes(12) + b"\x28\0\0\0" + b"\xff\xff\xff\x7f" * 2 + bytes(99), _OTHER
    yield "TIFF that leads to itself", b"II*\0\x08\0\0\0\0\0\x08\0\0\0" + bytes(99), _OTHER
    laughs = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    yield "SVG, a billion laughs", f'<svg xmlns="x"><!DOCTYPE l [{laughs}]>&l9;</svg>'.encode(), _OTHER
    for name, data, outcome in (
        ("PDF", b"%PDF-1.7\n1 0 obj\n", _OTHER),
        ("Photoshop", b"8BPS\0\1" + bytes(40), _OTHER),
        ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), _OTHER),
        ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), _OTHER),
        ("a JPEG XL codestream", b"\xff\x0a" + bytes(40), _OTHER),
        ("a film", b"\0\0\0\x18ftypmp42" + bytes(40), _OTHER),
        ("a QuickTime film", b"\0\0\0\x14ftypqt  " + bytes(40), _OTHER),
        ("camera raw", b"II*\0\x10\0\0\0CR\2\0" + bytes(40), _OTHER),
        ("sound", b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), _NONE),
        ("a program of Windows", b"MZ\x90\0" + bytes(60), _NONE),
        ("a program of Linux", b"\x7fELF\2\1\1" + bytes(60), _NONE),
        ("a script", b"#!/bin/sh\nrm -rf /\n", _NONE),
        ("gzip", b"\x1f\x8b\x08" + bytes(40), _NONE),
        ("a pickle", b"cos\nsystem\n(S'true'\ntR.", _NONE),
        ("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n", _NONE),
        ("PPM", b"P6 99999 99999 255\n", _NONE),
        ("a web page", b"\n <!DOCTYPE html><title>404</title>", _NONE),
        ("XML of entities", b'<?xml version="1.0"?><!DOCTYPE l [' + laughs.encode() + b"]>", _NONE),
        ("JSON", b'{"error": "not found"}', _NONE),
        ("text in UTF-16", "not a photo".encode("utf-16"), _NONE),
        ("a ZIP archive", archive(), _OTHER),
    ):
        yield f"{name} called photo.jpg", data, outcome


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("photo.jpg", bytes(10**6))
    return file.getvalue()


def _nothing() -> Iterator[Hostile]:
    yield "no bytes", b"", "empty_file"
    for byte in (0x00, 0xFF, 0x89, ord("R"), ord("<")):
        yield f"the byte {byte:#04x}", bytes([byte]), _NONE
    yield "two bytes of a JPEG", b"\xff\xd8", _NONE
    yield "a megabyte of zeros", bytes(2**20), _NONE
    yield "a megabyte of 0xFF", b"\xff" * 2**20, _NONE
    yield "a megabyte of spaces", b" " * 2**20, _NONE
    yield "noise", random.Random(5).randbytes(2**20), _NONE
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\0\0WEBP", b"\0\0\0\x18ftypheic"):
        yield f"noise behind {start[:8]!r}", start + random.Random(6).randbytes(50_000), _CUT
        yield f"zeros behind {start[:8]!r}", start + bytes(50_000), _CUT


def _polyglots() -> Iterator[Hostile]:
    """Photos that are something else as well: taken for the photos that they are."""
    page = b"<html><script>alert(1)</script>"
    jpeg, picture, webp, heic = photo("JPEG"), photo("PNG"), photo("WEBP"), photo("HEIF")
    for name, data in (("jpeg", jpeg), ("png", picture), ("webp", webp), ("heic", heic)):
        yield f"{name} and ZIP", data + archive(), "176x132"
        yield f"{name} and a web page", data + page, "176x132"
        yield f"{name} and 16 MB of zeros", data + bytes(16 * 2**20), "176x132"
    yield "jpeg with a web page in a comment", with_segments(segment(0xFE, page)), "176x132"
    yield "jpeg with PHP in its EXIF", with_segments(segment(0xE1, b"Exif\0\0<?php system($_GET[0]); ?>")), "176x132"
    yield "png with a web page in its text", png(header(16, 16), zeros(784), chunk(b"tEXt", b"k\0" + page)), "16x16"
    yield "jpeg behind a PDF", b"%PDF-1.4\n" + jpeg, _OTHER
    yield "jpeg behind a web page", page + jpeg, _NONE
    yield "jpeg behind a space", b" " + jpeg, _NONE
    yield "jpeg behind a GIF", b"GIF89a/*" + jpeg, _OTHER
    yield "png behind a jpeg's start", b"\xff\xd8\xff" + picture, _CUT
    yield "jpeg behind a png's start", picture[:8] + jpeg, _CUT
    yield "png in a webp", b"RIFF" + len(picture).to_bytes(4, "little") + b"WEBP" + picture, _CUT
