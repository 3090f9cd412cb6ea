"""A dozen sample photos, painted by code from fixed seeds: no camera, no people, no rights.

They are dedicated to the public domain (CC0 1.0). Each has flaws that real photos have, for `enhance` to mend:
dark, hazy, noisy, soft, off in colour. Among them are one PNG, one WebP, one HEIC and one that stands upright only by
its EXIF orientation; some carry a date, a camera and a place.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pillow_heif
from PIL import ExifTags, Image, ImageChops, ImageFilter

from sandbox.painting import paint
from sandbox.painting.noise import Size, grain

_WIDE, _TALL = (1_600, 1_200), (1_200, 1_600)
_PAINTED = 0.75  # share of the final size that is painted; the rest is enlarged, as soft as a cheap lens
_FIRST_DAY = datetime(2026, 5, 14, 18, 5)  # noqa: DTZ001 - EXIF dates have no zone
_UPRIGHT_BY_6 = 6  # EXIF: turn by 90° clockwise to show

Flaw = Callable[[Image.Image, Random], Image.Image]


def dark(share: float) -> Flaw:
    return lambda photo, _: photo.point([round(value * share) for value in range(256)] * 3)


def hazy(low: int, high: int) -> Flaw:
    return lambda photo, _: photo.point([round(low + value * (high - low) / 255) for value in range(256)] * 3)


def cast(red: float, green: float, blue: float) -> Flaw:
    return lambda photo, _: photo.point([min(255, round(v * gain)) for gain in (red, green, blue) for v in range(256)])


def soft(radius: float) -> Flaw:
    return lambda photo, _: photo.filter(ImageFilter.GaussianBlur(radius))


def noisy(strength: float) -> Flaw:
    """Grain of another colour in each channel, as of a small sensor in little light; strength 0..1."""

    def spoil(photo: Image.Image, chance: Random) -> Image.Image:
        specks = Image.merge("RGB", [grain(photo.size, chance) for _ in range(3)])
        return ImageChops.add(
            photo, specks.point([round((value - 128) * strength) + 128 for value in range(256)] * 3), 1, -128
        )

    return spoil


@dataclass(frozen=True)
class _Sample:
    """One photo; `place` is degrees north and east, `camera` a model name, None for a file without EXIF."""

    name: str
    scene: str
    flaws: tuple[Flaw, ...]
    size: Size = _WIDE
    camera: str | None = "Pocket 12"
    place: tuple[float, float] | None = None
    orientation: int = 1


_SAMPLES = (
    _Sample("IMG_0412.jpg", "lake", (dark(0.55), noisy(0.07)), place=(46.5580, 7.8920)),
    _Sample("IMG_0419.jpg", "sea", (hazy(38, 196), cast(1.0, 0.97, 0.92)), place=(43.4833, -1.5586)),
    _Sample("IMG_0433.jpg", "portrait", (dark(0.7), soft(0.8), cast(0.94, 1, 1.06)), _TALL, orientation=_UPRIGHT_BY_6),
    _Sample("IMG_0440.heic", "flowers", (hazy(44, 190),), camera="Phone 5", place=(52.0907, 5.1214)),
    _Sample("IMG_0458.jpg", "city", (dark(0.6), noisy(0.1)), camera="Phone 5", place=(53.5511, 9.9937)),
    _Sample("fog.png", "fog", (hazy(60, 200), cast(0.95, 1, 1.04)), camera=None),
    _Sample("IMG_0471.jpg", "balloons", (hazy(50, 205), soft(0.9)), camera="Phone 5"),
    _Sample("still-life.webp", "table", (cast(1.1, 1.0, 0.72), dark(0.72)), camera=None),
    _Sample("DSC_1187.jpg", "dunes", (cast(0.86, 0.98, 1.12), hazy(30, 200)), camera="Full Frame 3"),
    _Sample("DSC_1203.jpg", "stars", (dark(0.75), noisy(0.12)), camera="Full Frame 3", place=(64.1466, -21.9426)),
    _Sample("DSC_1216.jpg", "aurora", (noisy(0.1), soft(0.6)), camera="Full Frame 3", place=(64.9631, -19.0208)),
    _Sample("DSC_1240.jpg", "bokeh", (dark(0.6), noisy(0.08)), camera="Full Frame 3"),
)


def write_samples(folder: Path, count: int = 12) -> list[Path]:
    """Write `count` photos of about 1600 × 1200 into the folder, made if need be; the same bytes every time.

    Beyond a dozen the scenes come again from other seeds, under names with a number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda number: _write(folder, number), range(count)))


def _write(folder: Path, number: int) -> Path:
    sample = _SAMPLES[number % len(_SAMPLES)]
    path = folder / sample.name
    if turn := number // len(_SAMPLES):
        path = path.with_stem(f"{path.stem}-{turn + 1}")
    photo = _photo(sample, seed=number)
    exif = _exif(sample, number).tobytes() if sample.camera else b""
    if path.suffix == ".heic":
        pillow_heif.from_pillow(photo).save(path, quality=70, exif=exif)
    else:
        photo.save(path, quality=88, exif=exif, compress_level=3)
    return path


def _photo(sample: _Sample, *, seed: int) -> Image.Image:
    painted = paint(sample.scene, (round(sample.size[0] * _PAINTED), round(sample.size[1] * _PAINTED)), seed=seed)
    photo = painted.resize(sample.size, Image.Resampling.BICUBIC)
    chance = Random(seed)  # noqa: S311 - chance, not secrets
    for flaw in sample.flaws:
        photo = flaw(photo, chance)
    return photo.transpose(Image.Transpose.ROTATE_90) if sample.orientation == _UPRIGHT_BY_6 else photo


def _exif(sample: _Sample, number: int) -> Image.Exif:
    exif = Image.Exif()
    taken = (_FIRST_DAY + timedelta(hours=7 * number, minutes=13 * number)).strftime("%Y:%m:%d %H:%M:%S")
    exif[ExifTags.Base.Make] = "Example"
    exif[ExifTags.Base.Model] = sample.camera
    exif[ExifTags.Base.Orientation] = sample.orientation
    exif[ExifTags.Base.DateTime] = taken
    exif[ExifTags.Base.Copyright] = "CC0 1.0"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    if sample.place:
        north, east = sample.place
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLatitude] = "N" if north >= 0 else "S", _degrees(north)
        gps[ExifTags.GPS.GPSLongitudeRef], gps[ExifTags.GPS.GPSLongitude] = "E" if east >= 0 else "W", _degrees(east)
    return exif


def _degrees(value: float) -> tuple[float, float, float]:
    """Degrees, minutes and seconds."""
    minutes = abs(value) % 1 * 60
    return float(int(abs(value))), float(int(minutes)), round(minutes % 1 * 60, 2)
