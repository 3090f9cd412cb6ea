"""Randomness as pictures: grain, clouds and jagged outlines. Sizes are (width, height) in pixels."""

import math
from random import Random

from PIL import Image, ImageDraw, ImageOps

Size = tuple[int, int]


def grain(size: Size, chance: Random) -> Image.Image:
    """Even noise over the whole range of an L picture; same seed, same grain."""
    return Image.frombytes("L", size, chance.randbytes(size[0] * size[1]))


def clouds(size: Size, chance: Random, *, cells: tuple[float, float] = (4, 3), octaves: int = 5) -> Image.Image:
    """Fractal noise over the whole range of an L picture; `cells` are lumps across and down."""
    picture = Image.new("L", size, 128)
    for octave in range(octaves):
        across, down = (max(2, round(count * 2**octave)) for count in cells)
        layer = grain((min(across, size[0]), min(down, size[1])), chance).resize(size, Image.Resampling.BICUBIC)
        picture = layer if octave == 0 else Image.blend(picture, layer, 1 / (octave + 2) * 0.9)
    return ImageOps.autocontrast(picture)


def stretch(mask: Image.Image, *, low: float, high: float, strength: float = 1.0) -> Image.Image:
    """An L picture with `low`..`high` (0..1) spread over 0..`strength`: clouds out of noise."""
    span = (high - low) * 255
    return mask.point([round(255 * strength * min(1, max(0, (value - low * 255) / span))) for value in range(256)])


def outline(chance: Random, *, roughness: float, points: int = 257) -> list[float]:
    """Heights between -1 and 1 of a ridge by midpoint displacement; `roughness` 0.3 is dunes, 0.6 rock."""
    heights = [0.0] * points
    heights[0], heights[-1] = chance.uniform(-1, 1), chance.uniform(-1, 1)
    step, reach = points - 1, 1.0
    while step > 1:
        half = step // 2
        for left in range(0, points - 1, step):
            middle = (heights[left] + heights[left + step]) / 2
            heights[left + half] = middle + chance.uniform(-reach, reach) * 0.8
        step, reach = half, reach * roughness
    peak = max(abs(height) for height in heights) or 1
    return [height / peak for height in heights]


def ridge(size: Size, heights: list[float], *, level: float, height: float) -> Image.Image:
    """Mask of all below an outline that swings `height` around `level`, both shares of the picture's height."""
    width, tall = size[0] * 2, size[1] * 2
    step = width / (len(heights) - 1)
    line = [(index * step, (level - value * height) * tall) for index, value in enumerate(heights)]
    mask = Image.new("L", (width, tall))
    ImageDraw.Draw(mask).polygon([(0, tall), *line, (width, tall)], fill=255)
    return mask.resize(size, Image.Resampling.BOX)


def ground(size: Size, chance: Random, *, cells: tuple[float, float], horizon: float = 0.12) -> Image.Image:
    """Noise on a plane that runs away to the picture's upper edge: waves, grass, sand."""
    width, height = size
    pattern = clouds((width, height * 2), chance, cells=cells, octaves=4)
    plane = Image.new("L", size)
    for top in range(0, height, 2):
        depth = top / height
        source = (height * 2 - 4) * depth * (1 + horizon) / (depth + horizon)
        span = width / (1 + 4 * depth) / 2
        box = (width / 2 - span, source, width / 2 + span, source + 2)
        plane.paste(pattern.transform((width, 2), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR), (0, top))
    return plane


def ripple(picture: Image.Image, chance: Random, *, reach: float) -> Image.Image:
    """Shift rows sideways as water does to a reflection, by up to `reach` pixels at the bottom."""
    width, height = picture.size
    result = picture.copy()
    phase, band = chance.uniform(0, 6), 2
    for top in range(0, height, band):
        near = (top + 1) / height
        wave = math.sin(phase + 60 * math.log1p(6 * near)) + 0.5 * chance.uniform(-1, 1)
        shift = round(reach * near * wave)
        row = picture.crop((0, top, width, top + band))
        result.paste(row, (shift, top))
    return result
