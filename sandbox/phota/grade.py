"""Regrading a picture in the direction that a prompt points to."""

import colorsys
import zlib
from random import Random

from PIL import Image, ImageEnhance, ImageOps

Colour = tuple[int, int, int]

_TONES: dict[str, tuple[Colour, Colour]] = {
    "warm sunset golden autumn orange": ((64, 26, 30), (255, 224, 176)),
    "cold cool winter snow blue": ((12, 30, 64), (214, 234, 255)),
    "night moon dark midnight": ((6, 10, 34), (150, 172, 220)),
    "vintage retro film sepia old": ((58, 40, 30), (246, 228, 190)),
    "green spring forest nature": ((14, 40, 26), (240, 250, 208)),
    "pink romantic rose dream": ((56, 20, 52), (255, 220, 228)),
}
_GREY = ("black and white", "monochrome", "grayscale", "greyscale", "noir")


def tones_for(prompt: str) -> tuple[Colour, Colour]:
    """Colours of shadows and lights that a prompt asks for, or that its letters give if it names none."""
    for words, tones in _TONES.items():
        if any(word in prompt.lower() for word in words.split()):
            return tones
    hue = zlib.crc32(prompt.encode()) % 360 / 360
    dark, light = (colorsys.hsv_to_rgb(hue, 0.6, 0.25), colorsys.hsv_to_rgb((hue + 0.45) % 1, 0.22, 1.0))
    return _bytes(dark), _bytes(light)


def regrade(picture: Image.Image, prompt: str, *, variation: int = 0) -> Image.Image:
    """A gentle split tone; each variation leans another way. Grey where the prompt says so."""
    if any(word in prompt.lower() for word in _GREY):
        return ImageEnhance.Contrast(picture.convert("L").convert("RGB")).enhance(1.1 + 0.08 * variation)
    dark, light = tones_for(prompt)
    toned = ImageOps.colorize(picture.convert("L"), dark, light)
    lean = Random(f"{prompt} {variation}").uniform(0.26, 0.4)  # noqa: S311 - chance, not secrets
    graded = Image.blend(picture, toned, lean)
    return ImageEnhance.Color(graded).enhance(1.1 + 0.06 * variation)


def _bytes(colour: tuple[float, float, float]) -> Colour:
    red, green, blue = (round(value * 255) for value in colour)
    return red, green, blue
