"""Photos looked at by their headers: what is told without decoding, and what a bad file costs its neighbours."""

import hashlib
import io
import itertools
import os
import signal
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clients.image_survey import START_BYTES, Fault, Surveyed, Surveyor
from clients.images import MAX_BYTES, BadImage, ImageInfo, inspect, look, look_at_start

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF")


def photo(name: str = "JPEG", size: tuple[int, int] = (64, 32), orientation: int = 1, **options: Any) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.effect_noise(size, 80).convert("RGB").save(file, name, exif=exif, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def huge_png() -> bytes:
    """100,000 by 100,000 pixels by its header, and no pixel."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def tiled_heic() -> bytes:
    """As phones write them, in tiles of their own."""
    file = io.BytesIO()
    image = pillow_heif.from_pillow(Image.effect_noise((256, 256), 80).convert("RGB"))
    image.save(file, tile_size=128)
    return file.getvalue()


def fault(function: Callable[[bytes], object], data: bytes) -> str | None:
    try:
        function(data)
    except BadImage as error:
        return error.code
    return None


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_header_tells_what_decoding_tells(name: str, orientation: int) -> None:
    data = photo(name, orientation=orientation)
    assert look(data) == inspect(data)
    assert look(data).orientation == (1 if name == "HEIF" else orientation)  # libheif turns by itself


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("left", [12, 30, 200, 0.5, 0.9, -40, -5])
def test_a_picture_that_was_cut_is_told_at_a_look(name: str, left: float) -> None:
    data = photo(name, (320, 240))
    cut = data[: int(left * len(data)) if 0 < left < 1 else int(left)]
    assert fault(look, cut) == "truncated_image"


def test_pixels_are_not_decoded() -> None:
    data = bytearray(photo("PNG"))
    data[len(data) // 2] ^= 1
    assert fault(inspect, bytes(data)) == "truncated_image"
    assert look(bytes(data)).width == 64


def test_the_end_of_a_thumbnail_is_not_the_end_of_its_photo() -> None:
    data = photo(comment=b"\xff\xd9 and no more")
    assert fault(look, data[: len(data) // 2]) == "truncated_image"
    assert look(data).width == 64


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("length", [9, 70_000])
def test_what_phones_append_spoils_no_photo(name: str, length: int) -> None:
    data = photo(name)
    assert look(data + b"trailing " * length) == look(data)


def test_exif_behind_the_pixels_of_a_png_is_found() -> None:
    data = photo("PNG", orientation=6)
    start = data.index(b"eXIf") - 4
    exif = data[start : start + 12 + int.from_bytes(data[start : start + 4], "big")]
    moved = data.replace(exif, b"").replace(chunk(b"IEND", b""), exif + chunk(b"IEND", b""))
    assert moved.index(b"eXIf") > moved.index(b"IDAT")
    assert look(moved).orientation == inspect(moved).orientation == 6


@pytest.mark.parametrize("function", [look, inspect])
def test_a_phones_heic_without_its_last_tiles_is_refused(function: Callable[[bytes], ImageInfo]) -> None:
    data = tiled_heic()
    assert function(data).width == 256
    assert fault(function, data[: len(data) * 2 // 3]) == "truncated_image"


PICTURES = [photo(name) for name in FORMATS]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(PICTURES), st.integers(0, 400), st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=9)))
)
def test_a_look_refuses_nothing_that_decodes(data: bytes, cut: int, damages: list[tuple[int, bytes]]) -> None:
    hurt = bytearray(data[: -cut or None])
    for at, damage in damages:
        hurt[at % len(hurt) : at % len(hurt) + len(damage)] = damage
    assert fault(look, bytes(hurt)) is None or fault(inspect, bytes(hurt)) is not None


@pytest.mark.parametrize("name", FORMATS)
def test_the_start_of_an_object_is_enough(name: str) -> None:
    data = photo(name, (640, 480))
    found = look_at_start(data[:1000], len(data))
    assert found == look(data)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 10}, {"exif": b"II"}])
def test_the_size_of_a_webp_is_read_in_each_of_its_forms(options: dict[str, Any]) -> None:
    file = io.BytesIO()
    Image.effect_noise((300, 201), 80).save(file, "WEBP", **options)
    found = look_at_start(file.getvalue()[:30], file.tell())
    assert found is not None
    assert (found.width, found.height) == (300, 201)


def test_a_header_that_goes_on_behind_the_start_is_no_fault() -> None:
    data = photo(icc_profile=b"profile" * 1000)
    assert look_at_start(data[:2000], len(data)) is None
    assert look_at_start(data, len(data)) == look(data)


@pytest.mark.parametrize("name", ["WEBP", "HEIF"])
def test_an_object_shorter_than_it_says_is_cut_off(name: str) -> None:
    data = photo(name, (320, 240))
    assert fault(lambda first: look_at_start(first, len(data) - 1000), data[:-2000]) == "truncated_image"


def crash_or_hang(call: tuple[Callable[[list[str]], Any], list[str]]) -> Any:
    function, paths = call
    if any("crash" in path for path in paths):
        os.kill(os.getpid(), signal.SIGSEGV)
    if any("hang" in path for path in paths):
        time.sleep(60)
    return function(paths[:20])  # as where there is no time for more


class FragileSurveyor(Surveyor):
    """Its children cannot bear some names, and hand back twenty files at a time."""

    def _run_sync(self, function: Callable[..., Any], argument: Any) -> Any:
        return super()._run_sync(crash_or_hang, (function, argument))


@pytest.fixture(scope="module")
def surveyor() -> Iterator[Surveyor]:
    surveyor = Surveyor(workers=2)
    yield surveyor
    surveyor.close()


def files(folder: Path, **contents: bytes) -> list[Path]:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def test_files_are_told_in_their_order(surveyor: Surveyor, tmp_path: Path) -> None:
    paths = files(tmp_path, a=photo(), b=b"", c=b"hello", d=photo("GIF"), e=photo()[:300], f=huge_png(), g=photo("PNG"))
    found = surveyor.survey(paths)
    codes = [None, "empty_file", "not_an_image", "unsupported_format", "truncated_image", "image_too_large", None]
    assert [each.fault and each.fault.code for each in found] == codes
    assert [each.name for each in found] == [str(path) for path in paths]
    assert [each.sha256 for each in found] == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert found[-1].info == look(paths[-1].read_bytes())


def test_what_is_no_file_of_our_size_is_not_read(surveyor: Surveyor, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    [large] = files(tmp_path, large=b"")
    os.truncate(large, MAX_BYTES + 1)
    found = surveyor.survey([large, tmp_path / "pipe", tmp_path, tmp_path / "none", Path("\0")])
    assert [each.fault and each.fault.code for each in found] == ["file_too_large"] + ["unreadable"] * 4
    assert (found[0].bytes, found[0].sha256) == (MAX_BYTES + 1, None)
    assert [each.fault and each.fault.message for each in found[1:4]] == ["not a file"] * 2 + [
        "No such file or directory"
    ]


def test_a_file_that_ends_its_child_harms_no_other(tmp_path: Path) -> None:
    paths = files(tmp_path, **{f"{number}": photo() for number in range(70)}, crash=photo(), hang=photo(), z=photo())
    surveyor = FragileSurveyor(workers=2, seconds=0.5)
    found = surveyor.survey(paths)
    surveyor.close()
    assert [each.name for each in found] == [str(path) for path in paths]
    assert {each.name for each in found if each.info is None} == {str(tmp_path / "crash"), str(tmp_path / "hang")}
    assert [each.fault and each.fault.code for each in found[70:]] == [
        "image_crashed_decoder",
        "image_too_slow",
        None,
    ]


def test_no_more_files_are_named_than_are_worked_on(surveyor: Surveyor, tmp_path: Path) -> None:
    [path] = files(tmp_path, a=photo())
    named = itertools.count()
    stream = surveyor.stream(path for _ in named)
    assert len(list(itertools.islice(stream, 100))) == 100
    stream.close()  # type: ignore[attr-defined]
    assert next(named) < 1000


def test_an_object_is_told_by_its_first_bytes(surveyor: Surveyor) -> None:
    data = photo("PNG", (700, 500))
    assert len(data) > START_BYTES
    assert surveyor.survey_bytes("a.png", data[:START_BYTES], len(data)).info == look(data)
    fault = Fault("file_too_large", "has 64 MB; at most 64 are taken")
    assert surveyor.survey_bytes("b", b"", MAX_BYTES + 1) == Surveyed("b", MAX_BYTES + 1, None, None, fault)
    assert surveyor.survey_bytes("c", b"<html>", 6).fault == Fault(
        "not_an_image", "this is a web page or XML, not an image"
    )
