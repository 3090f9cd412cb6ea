"""Colour and light: gradients, glows, haze and the finish of a lens. Colours are RGB."""

from collections.abc import Sequence
from random import Random

from PIL import Image, ImageChops, ImageFilter, ImageOps

from sandbox.painting.noise import Size, grain

Colour = tuple[int, int, int]
_RIM = 180  # of Pillow's radial gradient in the middle of its edges; 255 is at the corners


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`share` 0 is the first colour, 1 the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def vary(colour: Colour, chance: Random, *, by: int = 12) -> Colour:
    red, green, blue = (min(255, max(0, value + chance.randint(-by, by))) for value in colour)
    return red, green, blue


def ramp(size: Size, colours: Sequence[Colour]) -> Image.Image:
    """From top to bottom, evenly through the colours, without bands."""
    strip = Image.new("RGB", (1, len(colours)))
    strip.putdata(list(colours))
    margin = 0.5
    box = (0, margin, 1, len(colours) - margin)
    return strip.resize(size, Image.Resampling.BICUBIC, box=box)


def spot(size: Size, centre: tuple[float, float], radius: tuple[float, float], *, power: float = 1.0) -> Image.Image:
    """L mask of a soft light around `centre`, in pixels; `power` above 1 draws it together."""
    base = Image.radial_gradient("L").point(lambda value: 255 * max(0.0, 1 - value / _RIM) ** power)
    wide, tall = max(2, round(radius[0] * 2)), max(2, round(radius[1] * 2))
    mask = Image.new("L", size)
    mask.paste(
        base.resize((wide, tall), Image.Resampling.BICUBIC), (round(centre[0] - wide / 2), round(centre[1] - tall / 2))
    )
    return mask


def glow(picture: Image.Image, mask: Image.Image, colour: Colour) -> Image.Image:
    """Add light of a colour where the mask is."""
    light = Image.composite(Image.new("RGB", picture.size, colour), Image.new("RGB", picture.size), mask)
    return ImageChops.screen(picture, light)


def cover(picture: Image.Image, colour: Colour | Image.Image, mask: Image.Image) -> Image.Image:
    """Paint a colour or another picture where the mask is."""
    layer = colour if isinstance(colour, Image.Image) else Image.new("RGB", picture.size, colour)
    return Image.composite(layer, picture, mask)


def texture(picture: Image.Image, noise: Image.Image, strength: float) -> Image.Image:
    """Let a noise in L darken and lighten a picture; `strength` 0..1."""
    return Image.blend(picture, ImageChops.overlay(picture, noise.convert("RGB")), strength)


def finish(picture: Image.Image, chance: Random, *, vignette: float = 0.25, noise: float = 0.03) -> Image.Image:
    """What a camera adds: darker corners and a little grain."""
    width, height = picture.size
    edge = spot(picture.size, (width / 2, height / 2), (width * 0.95, height * 0.95), power=0.6)
    dark = Image.composite(picture, picture.point(lambda value: value * (1 - vignette)), edge)
    speck = grain(picture.size, chance).filter(ImageFilter.GaussianBlur(0.6))
    return texture(dark, ImageOps.autocontrast(speck), noise * 3)
