"""Things in scenes, as masks or painted pictures: conifers, people, balloons, flowers, buildings."""

import math
from random import Random

from PIL import Image, ImageDraw, ImageFilter

from sandbox.painting.light import Colour, mix, vary
from sandbox.painting.noise import Size


def conifer(draw: ImageDraw.ImageDraw, chance: Random, *, foot: tuple[float, float], height: float) -> None:
    """A fir on a mask, its foot at (x, y)."""
    x, y = foot
    reach = height * chance.uniform(0.14, 0.2)
    tiers = 26
    left: list[tuple[float, float]] = []
    right: list[tuple[float, float]] = []
    for tier in range(tiers + 1):
        share = tier / tiers
        level = y - height * (1 - share) - height * 0.03
        for side, edge in ((left, -1), (right, 1)):
            wide = reach * share**0.9 * chance.uniform(0.6, 1.2)
            side.append((x + edge * wide, level + height * 0.03))
            side.append((x + edge * wide * 0.6, level + height * 0.012))
    draw.polygon([(x, y - height * 1.04), *right, *reversed(left)], fill=255)
    draw.rectangle((x - height * 0.014, y - height * 0.05, x + height * 0.014, y + height * 0.06), fill=255)


def forest(
    size: Size, chance: Random, *, foot: float, height: float, count: int, span: tuple[float, float] = (-0.03, 1.03)
) -> Image.Image:
    """Mask of a row of firs; `foot` and `height` are shares of the picture's height, `span` of its width."""
    width, tall = size
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for _ in range(count):
        place = (chance.uniform(*span) * width, (foot + chance.uniform(-0.02, 0.02)) * tall)
        conifer(draw, chance, foot=place, height=height * tall * chance.uniform(0.55, 1.1))
    draw.rectangle((span[0] * width, (foot + 0.01) * tall, span[1] * width, tall * 2), fill=255)
    return mask.filter(ImageFilter.GaussianBlur(min(size) / 1_500))


def bust(size: Size, chance: Random, *, x: float, top: float, height: float) -> Image.Image:
    """Mask of somebody's head and shoulders, seen against the light; all in pixels."""
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    head = height * 0.4
    wide = head * chance.uniform(0.74, 0.8)
    draw.ellipse((x - wide / 2, top, x + wide / 2, top + head), fill=255)
    _hair(draw, chance, x=x, top=top, head=head)
    neck, slope = wide * 0.27, top + head * 1.22
    shoulder = wide * chance.uniform(1.3, 1.5)
    right = [
        (neck, top + head * 0.8), (neck, top + head * 1.03), (neck * 1.35, slope - head * 0.06),
        (shoulder * 0.5, slope + head * 0.06), (shoulder * 0.78, slope + head * 0.17),
        (shoulder * 0.95, slope + head * 0.36), (shoulder * 1.06, slope + head * 0.75),
        (shoulder * 1.15, slope + head * 1.3), (shoulder * 1.2, slope + head * 4),
    ]  # fmt: skip
    draw.polygon([(x + dx, y) for dx, y in right] + [(x - dx, y) for dx, y in reversed(right)], fill=255)
    soft = mask.filter(ImageFilter.GaussianBlur(head * 0.06))
    return soft.point(lambda value: min(255, max(0, (value - 104) * 6)))


def _hair(draw: ImageDraw.ImageDraw, chance: Random, *, x: float, top: float, head: float) -> None:
    style = chance.choice(("short", "long", "bun"))
    if style == "long":
        draw.ellipse((x - head * 0.46, top, x + head * 0.46, top + head * 1.5), fill=255)
    draw.ellipse((x - head * 0.43, top - head * 0.07, x + head * 0.43, top + head * 0.62), fill=255)
    if style == "bun":
        draw.ellipse((x - head * 0.06, top - head * 0.27, x + head * 0.3, top + head * 0.07), fill=255)


def balloon(chance: Random, *, width: int, colours: tuple[Colour, Colour]) -> Image.Image:
    """A hot-air balloon on a clear ground (RGBA), `width` pixels wide and 1.5 times as tall, lit from the left."""
    big = width * 2
    picture = Image.new("RGBA", (big, big * 3 // 2))
    draw = ImageDraw.Draw(picture)
    gores = chance.choice((7, 9, 11))
    for gore in range(gores):
        edges = [math.sin(math.pi * ((gore + side) / gores - 0.5)) for side in (0, 1)]
        colour = mix(colours[gore % 2], (20, 15, 30), 0.5 * (gore / gores) ** 1.5)
        draw.polygon(_gore(big, edges), fill=(*colour, 255))
    middle, bottom = big / 2, big * 1.22
    for edge in (-0.07, 0.07):
        draw.line(
            (middle + edge * big, bottom - big * 0.05, middle + edge * big * 0.7, bottom + big * 0.1),
            fill=(40, 30, 25, 255),
            width=max(1, big // 100),
        )
    draw.rounded_rectangle(
        (middle - big * 0.06, bottom + big * 0.09, middle + big * 0.06, bottom + big * 0.19),
        big * 0.015,
        fill=(70, 45, 30, 255),
    )
    return picture.resize((width, width * 3 // 2), Image.Resampling.LANCZOS)


def _gore(big: int, edges: list[float]) -> list[tuple[float, float]]:
    """The panel between two meridians of the envelope, from its crown to its mouth."""
    profile = []
    for step in range(33):
        turn = step / 32
        wide = math.sin(math.pi * turn**0.8) ** 0.75 if turn < 0.62 else 1 - (turn - 0.62) / 0.38 * 0.84
        limit = math.sin(math.pi * 0.62**0.8) ** 0.75
        profile.append((min(wide, limit + 0.03) * big * 0.49, turn * big * 1.2 + big * 0.01))
    return [(big / 2 + edges[0] * w, y) for w, y in profile] + [
        (big / 2 + edges[1] * w, y) for w, y in reversed(profile)
    ]


def poppy(chance: Random, *, width: int, colour: Colour) -> Image.Image:
    """A flower seen a little from above, on a clear ground (RGBA), `width` pixels wide."""
    picture = Image.new("RGBA", (width, width))
    middle, turn = width / 2, chance.uniform(0, 2)
    for petal in range(5):
        leaf = Image.new("RGBA", picture.size)
        shade = mix(vary(colour, chance, by=14), (255, 150, 110) if petal % 2 else (60, 0, 10), 0.22)
        draw = ImageDraw.Draw(leaf)
        draw.ellipse((width * 0.27, width * 0.06, width * 0.73, width * 0.55), fill=(*shade, 255))
        for vein in range(-3, 4):
            tip = (middle * (1 + vein * 0.11), width * 0.1)
            draw.line((middle, middle, *tip), fill=(*mix(shade, (90, 0, 20), 0.3), 255), width=max(1, width // 120))
        soft = leaf.filter(ImageFilter.GaussianBlur(width / 140))
        picture.alpha_composite(soft.rotate(turn * 60 + petal * 144, Image.Resampling.BICUBIC))
    heart = Image.new("RGBA", (width, width))
    draw = ImageDraw.Draw(heart)
    draw.ellipse((width * 0.41, width * 0.41, width * 0.59, width * 0.59), fill=(35, 25, 30, 255))
    draw.ellipse((width * 0.45, width * 0.45, width * 0.55, width * 0.55), fill=(120, 140, 70, 255))
    picture.alpha_composite(heart.filter(ImageFilter.GaussianBlur(width / 140)))
    return picture.resize((width, round(width * 0.8)), Image.Resampling.LANCZOS)


def skyline(size: Size, chance: Random, *, foot: float, height: float) -> tuple[Image.Image, Image.Image]:
    """Masks of a row of buildings and of their lit windows; shares of the picture's height."""
    width, tall = size
    walls, lights = Image.new("L", size), Image.new("L", size)
    draw, lamp = ImageDraw.Draw(walls), ImageDraw.Draw(lights)
    x = -0.02 * width
    while x < width:
        wide = chance.uniform(0.035, 0.085) * width
        top = (foot - height * chance.uniform(0.25, 1) ** 1.4) * tall
        draw.rectangle((x, top, x + wide, foot * tall), fill=255)
        if chance.random() < 0.3:
            draw.rectangle((x + wide * 0.46, top - tall * 0.05, x + wide * 0.54, top), fill=255)
        _windows(lamp, chance, box=(x, top, x + wide, foot * tall), unit=min(size) / 100)
        x += wide * chance.uniform(0.85, 1.15)
    return walls, lights


def _windows(draw: ImageDraw.ImageDraw, chance: Random, *, box: tuple[float, float, float, float], unit: float) -> None:
    across, down = unit * 1.1, unit * 1.6
    lit = chance.uniform(0.15, 0.5)
    y = box[1] + down
    while y < box[3] - down:
        x = box[0] + across * 0.7
        while x < box[2] - across:
            if chance.random() < lit:
                draw.rectangle((x, y, x + across * 0.55, y + down * 0.5), fill=chance.randint(110, 255))
            x += across
        y += down
