"""Making a photo better: noise, cast, exposure, colour, sharpness, each by what the picture shows."""

import math
from typing import cast

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps, ImageStat

LONG_SIDE = 2_048
_CLEAN = 2.0  # flicker that needs no mending: files of good cameras show 0.5 to 2
_AIM = 112  # mean brightness, of 255, that exposure is moved towards


def enhance(photo: Image.Image, *, variation: int = 0) -> Image.Image:
    """A better picture, 2,048 pixels on its long side; variations differ a little in warmth and depth."""
    is_large = max(photo.size) > LONG_SIDE  # bringing it down takes most of the noise away already
    picture = _denoise(_resize(photo)) if is_large else _resize(_denoise(photo))
    picture = _expose(_neutralise(picture))
    picture = _warm(picture, 1 + 0.02 * (variation % 4))
    picture = ImageEnhance.Color(picture).enhance(1.1 + 0.05 * (variation % 4))
    return picture.filter(ImageFilter.UnsharpMask(radius=2.2, percent=70, threshold=3))


def _resize(photo: Image.Image) -> Image.Image:
    share = LONG_SIDE / max(photo.size)
    return photo.resize(
        (max(1, round(photo.width * share)), max(1, round(photo.height * share))), Image.Resampling.LANCZOS
    )


def _denoise(photo: Image.Image) -> Image.Image:
    """Smooth what is flat, colour more than light, as far as the picture is noisy; edges stay."""
    amount = min(1.0, (_noise(photo) - _CLEAN) / _CLEAN)
    if amount <= 0:
        return photo
    unit = max(photo.size) / 1_600
    light, *colour = photo.convert("YCbCr").split()
    soft = light.filter(ImageFilter.GaussianBlur(2 * unit))
    edges = ImageChops.difference(soft, light.filter(ImageFilter.GaussianBlur(6 * unit)))
    wide = edges.filter(ImageFilter.MaxFilter(5))
    mask = wide.point([min(255, max(0, (value - 3) * 32)) for value in range(256)]).filter(ImageFilter.GaussianBlur(2))
    flat = Image.composite(light.filter(ImageFilter.MedianFilter(3)), soft, mask)
    calm = [band.filter(ImageFilter.GaussianBlur(4 * unit)) for band in colour]
    return Image.blend(photo, Image.merge("YCbCr", (flat, *calm)).convert("RGB"), 0.9 * amount)


def _noise(photo: Image.Image) -> float:
    """How much the calmest tenth of a picture flickers, of 255, as it would show at medium brightness."""
    light = photo.convert("L")
    flicker = ImageChops.difference(light, light.filter(ImageFilter.GaussianBlur(1.5))).convert("F")
    tiles = flicker.resize((20, 20), Image.Resampling.BOX)
    levels = sorted(cast(tuple[float, ...], tiles.get_flattened_data()))
    return levels[len(levels) // 10] * _AIM / max(10.0, ImageStat.Stat(light).mean[0])


def _neutralise(picture: Image.Image) -> Image.Image:
    """Take some of a colour cast away, judged by the mean of the channels: an evening may stay warm."""
    means = [max(1.0, mean) for mean in ImageStat.Stat(picture).mean]
    grey = sum(means) / 3
    gains = [min(1.16, max(0.88, (grey / mean) ** 0.4)) for mean in means]
    return picture.point([min(255, round(value * gain)) for gain in gains for value in range(256)])


def _expose(picture: Image.Image) -> Image.Image:
    """Use the whole range, then lift or lower the middle; a picture meant dark stays rather dark."""
    picture = Image.blend(picture, ImageOps.autocontrast(picture, cutoff=(0.4, 0.2), preserve_tone=True), 0.7)
    mean = min(250.0, max(5.0, ImageStat.Stat(picture.convert("L")).mean[0]))
    gamma = math.log(_AIM / 255) / math.log(mean / 255)
    gamma = min(1.25, max(0.62, gamma**0.6))
    return picture.point([round(255 * (value / 255) ** gamma) for value in range(256)] * 3)


def _warm(picture: Image.Image, share: float) -> Image.Image:
    gains = (share, 1.0, 1 / share)
    return picture.point([min(255, round(value * gain)) for gain in gains for value in range(256)])
