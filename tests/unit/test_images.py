"""Pictures told by their bytes, turned upright, and decoded where they can do no harm."""

import asyncio
import io
import os
import pickle
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw

from clients.image_inspector import ImageInspector
from clients.images import BadImage, ImageInfo, inspect, prepare, upright

ORIENTATION, ARTIST = 0x0112, 0x013B


def photo(name: str = "JPEG", size: tuple[int, int] = (64, 32), **options: Any) -> bytes:
    """A noisy picture, red in its upper left corner."""
    image = Image.effect_noise(size, 80).convert("RGB")
    ImageDraw.Draw(image).rectangle((0, 0, size[0] // 4, size[1] // 4), fill="red")
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def turned(orientation: int, name: str = "JPEG", **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION], exif[ARTIST] = orientation, "somebody"
    return photo(name, exif=exif, **options)


def fault(data: bytes) -> str:
    with pytest.raises(BadImage) as caught:
        inspect(data)
    return caught.value.code


@pytest.mark.parametrize(
    ("name", "content_type", "extension"),
    [
        ("JPEG", "image/jpeg", "jpg"),
        ("PNG", "image/png", "png"),
        ("WEBP", "image/webp", "webp"),
        ("HEIF", "image/heic", "heic"),
    ],
)
def test_a_picture_is_told_by_its_bytes(name: str, content_type: str, extension: str) -> None:
    data = photo(name)
    assert inspect(data) == ImageInfo(name, content_type, extension, 64, 32, 1)
    assert [fault(data[:cut]) for cut in (30, len(data) // 2, len(data) - 9)] == ["truncated_image"] * 3


def test_a_phones_picture_with_a_second_one_behind_it_is_a_jpeg() -> None:
    data = photo("MPO", save_all=True, append_images=[Image.new("RGB", (64, 32))])
    assert inspect(data).content_type == "image/jpeg"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"hello", "not_an_image"),
        (b"\n<!DOCTYPE html><html>", "not_an_image"),
        (b"\0" * 99, "not_an_image"),
        (photo("GIF"), "unsupported_format"),
        (photo("TIFF"), "unsupported_format"),
        (photo("BMP"), "unsupported_format"),
        (photo("AVIF"), "unsupported_format"),
        (b"%PDF-1.7", "unsupported_format"),
        (b"\0\0\0\x18ftypmp42", "unsupported_format"),
    ],
)
def test_what_is_no_photo_is_named(data: bytes, code: str) -> None:
    assert fault(data) == code


def test_a_damaged_png_is_found_by_its_checksums() -> None:
    data = bytearray(photo("PNG"))
    data[len(data) // 2] ^= 1
    assert fault(bytes(data)) == "truncated_image"


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    file = io.BytesIO()
    Image.new("1", (20_000, 10_001)).save(file, "PNG")
    started = time.perf_counter()
    with pytest.raises(BadImage, match="more than 200,000,000 pixels"):
        inspect(file.getvalue())
    assert time.perf_counter() - started < 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_a_viewer_shows_it(orientation: int) -> None:
    data = turned(orientation, quality=95)
    info, result = prepare(data)
    assert (info.width, info.height) == ((64, 32) if orientation < 5 else (32, 64))
    assert inspect(result) == info
    assert (result is data) == (orientation == 1)
    corner = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}[orientation]
    at = (corner[0] * (info.width - 5) + 2, corner[1] * (info.height - 5) + 2)
    red, green, _ = Image.open(io.BytesIO(result)).convert("RGB").getpixel(at)
    assert red > 200
    assert green < 60


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_exif_and_colour_profile_survive(name: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = turned(6, name, icc_profile=profile)
    result = Image.open(io.BytesIO(upright(data, inspect(data))))
    assert (result.format, result.size, result.info["icc_profile"]) == (name, (32, 64), profile)
    assert (result.getexif()[ORIENTATION], result.getexif()[ARTIST]) == (1, "somebody")


def test_colour_is_kept_at_full_resolution() -> None:
    data = turned(3, subsampling="4:2:0")
    result: Any = Image.open(io.BytesIO(upright(data, inspect(data))))
    assert [layer[1:3] for layer in result.layer] == [(1, 1)] * 3


def test_broken_exif_spoils_no_picture() -> None:
    data = photo(exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\x01" * 9)
    assert inspect(data).orientation == 1
    assert inspect(turned(9)).orientation == 1


PICTURES = [photo(name) for name in ("JPEG", "PNG", "WEBP", "HEIF")]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PICTURES), st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=9)), max_size=5))
def test_whatever_the_bytes_say_is_read_or_refused(data: bytes, damages: list[tuple[int, bytes]]) -> None:
    hurt = bytearray(data)
    for at, damage in damages:
        hurt[at % len(hurt) : at % len(hurt) + len(damage)] = damage
    try:
        assert prepare(bytes(hurt)).info.width > 0
    except BadImage as error:
        code = error.code
        assert code


def test_a_refusal_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(BadImage("empty_file", "the file is empty")))
    assert (error.code, str(error)) == ("empty_file", "the file is empty")


@pytest.fixture(scope="module")
def inspector() -> Iterator[ImageInspector]:
    inspector = ImageInspector(seconds=0.5)
    yield inspector
    inspector.close()


def crash(data: bytes) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(data: bytes) -> None:
    time.sleep(60)


def allocate(data: bytes) -> int:
    return len(bytearray(3 * 2**30))


def is_deaf(data: bytes) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_ctrl_c_reaches_no_child_not_even_while_it_starts(inspector: ImageInspector) -> None:
    assert inspector._run_sync(is_deaf, b"")
    with pytest.raises(BadImage):
        inspector._run_sync(crash, b"")
    assert inspector._run_sync(is_deaf, b"")  # the one in its place too
    assert not is_deaf(b"")


def test_a_child_gives_the_same_answers(inspector: ImageInspector) -> None:
    data = turned(6)
    assert inspector.inspect_sync(data) == asyncio.run(inspector.inspect(data)) == inspect(data)
    assert inspector.prepare_sync(data) == asyncio.run(inspector.prepare(data)) == prepare(data)
    with pytest.raises(BadImage, match="web page"):
        inspector.inspect_sync(b"<html>")


@pytest.mark.parametrize(("function", "code"), [(crash, "image_crashed_decoder"), (hang, "image_too_slow")])
def test_a_picture_that_ends_its_child_harms_no_other(inspector: ImageInspector, function: Any, code: str) -> None:
    with pytest.raises(BadImage) as caught:
        inspector._run_sync(function, b"x" * 200_000)
    assert caught.value.code == code
    assert inspector.inspect_sync(PICTURES[0]).width == 64


def test_a_crash_is_told_from_its_neighbours(inspector: ImageInspector) -> None:
    async def run() -> list[Any]:
        calls = [inspector._run(crash if number == 3 else inspect, PICTURES[0]) for number in range(8)]
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(run())
    assert [type(answer).__name__ for answer in answers].count("ImageInfo") == 7
    assert answers[3].code == "image_crashed_decoder"


@pytest.mark.skipif("sys.platform != 'linux'")
def test_a_child_has_bounded_memory(inspector: ImageInspector) -> None:
    with pytest.raises(MemoryError):
        inspector._run_sync(allocate, b"")
