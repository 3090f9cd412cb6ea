"""Scenes without people: water, woods, sand, sky. Each takes a size and a seeded source of chance."""

from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from sandbox.painting.light import Colour, cover, finish, glow, mix, ramp, spot, texture, vary
from sandbox.painting.noise import Size, clouds, ground, outline, ridge, ripple, stretch
from sandbox.painting.shapes import forest


def lake(size: Size, chance: Random) -> Image.Image:
    """Mountains at dusk, mirrored in a lake."""
    width, height = size
    shore = round(height * chance.uniform(0.52, 0.58))
    glowing = vary((255, 186, 120), chance)
    upper = ramp(
        (width, shore), [vary((44, 58, 108), chance), (112, 98, 148), (222, 140, 130), glowing, (255, 226, 170)]
    )
    veil = clouds(upper.size, chance, cells=(2.5, 7))
    upper = cover(upper, (255, 176, 150), stretch(veil, low=0.55, high=0.95, strength=0.6))
    upper = glow(
        upper,
        spot(upper.size, (width * chance.uniform(0.3, 0.7), shore * 0.86), (width * 0.5, shore * 0.5)),
        (255, 190, 110),
    )
    for layer, (level, rise) in enumerate([(0.62, 0.3), (0.74, 0.24), (0.86, 0.16), (0.95, 0.08)]):
        near = layer / 3
        mask = ridge(upper.size, outline(chance, roughness=0.55 - 0.08 * layer), level=level, height=rise)
        rock = ramp(upper.size, [mix((150, 110, 140), (26, 30, 52), near), mix((214, 150, 150), (36, 44, 66), near)])
        upper = cover(upper, texture(rock, clouds(upper.size, chance, cells=(12, 9)), 0.25), mask)
    upper = cover(upper, (16, 22, 32), forest(upper.size, chance, foot=0.985, height=0.085, count=240))
    return finish(_mirror(upper, (width, height), chance), chance)


def _mirror(upper: Image.Image, size: Size, chance: Random) -> Image.Image:
    width, height = size
    depth = height - upper.height
    below = ImageOps.flip(upper).crop((0, 0, width, depth)).filter(ImageFilter.GaussianBlur(height / 500))
    below = ripple(below, chance, reach=width / 90)
    below = Image.blend(below, ramp(below.size, [(90, 80, 110), (14, 20, 40)]), 0.38)
    picture = Image.new("RGB", size)
    picture.paste(upper)
    picture.paste(below, (0, upper.height))
    return picture


def sea(size: Size, chance: Random) -> Image.Image:
    """The sun going down over open water."""
    width, height = size
    horizon = round(height * chance.uniform(0.45, 0.55))
    sun = width * chance.uniform(0.3, 0.7)
    sky = ramp((width, horizon), [vary((40, 66, 118), chance), (120, 110, 150), (236, 142, 104), (255, 196, 110)])
    veil = clouds(sky.size, chance, cells=(2, 8))
    sky = cover(sky, (92, 72, 104), stretch(veil, low=0.5, high=0.9, strength=0.75))
    sky = glow(sky, spot(sky.size, (sun, horizon * 0.84), (width * 0.45, width * 0.32), power=1.5), (255, 170, 80))
    sky = glow(sky, spot(sky.size, (sun, horizon * 0.84), (width * 0.05, width * 0.05), power=0.35), (255, 240, 200))
    water = ramp((width, height - horizon), [(196, 128, 104), (74, 82, 110), (20, 36, 62), (10, 20, 40)])
    waves = ground(water.size, chance, cells=(24, 120))
    water = texture(water, waves, 0.75)
    path = spot(water.size, (sun, 0), (width * 0.2, water.height * 1.1), power=1.2)
    water = glow(water, ImageChops.multiply(path, stretch(waves, low=0.45, high=0.75)), (255, 200, 120))
    picture = Image.new("RGB", size)
    picture.paste(sky)
    picture.paste(water, (0, horizon))
    return finish(picture, chance)


def fog(size: Size, chance: Random) -> Image.Image:
    """Firs in the morning fog, one row behind the other."""
    width, height = size
    light, dark = vary((216, 222, 220), chance), vary((22, 40, 38), chance)
    picture = ramp(size, [mix(light, (255, 246, 224), 0.5), light, mix(light, dark, 0.12)])
    picture = glow(
        picture,
        spot(size, (width * chance.uniform(0.2, 0.8), height * 0.2), (width * 0.4, width * 0.4)),
        (255, 238, 200),
    )
    rows = 6
    for row in range(rows):
        near = (row + 1) / rows
        mask = forest(size, chance, foot=0.5 + 0.52 * near, height=0.2 + 0.5 * near**1.5, count=round(34 - 24 * near))
        tree = ramp(size, [mix(light, dark, near**1.2), mix(light, dark, near**1.2 * 0.8)])
        blur = ImageFilter.GaussianBlur((1 - near) * width / 400)
        picture = cover(picture, tree, mask.filter(blur))
        drift = ImageChops.multiply(
            clouds(size, chance, cells=(2, 5)),
            spot(size, (width / 2, height * (0.5 + 0.45 * near)), (width * 1.6, height * 0.4), power=0.7),
        )
        picture = cover(picture, light, drift.point([round(value * (1 - near * 0.75)) for value in range(256)]))
    return finish(picture, chance)


def dunes(size: Size, chance: Random) -> Image.Image:
    """Desert in low light, each crest with a lit and a shaded side."""
    width, height = size
    picture = ramp(size, [vary((86, 134, 186), chance), (166, 188, 204), (246, 214, 176), (250, 206, 150)])
    levels = [0.46, 0.54, 0.64, 0.8]
    for layer, level in enumerate(levels):
        near = layer / (len(levels) - 1)
        crest = outline(chance, roughness=0.22)
        mask = ridge(size, crest, level=level, height=0.05 + 0.09 * near)
        lit = mix((236, 190, 142), vary((222, 150, 84), chance), near)
        sand = ramp(size, [lit, lit, mix(lit, (120, 66, 40), 0.5)])
        sand = texture(sand, ground(size, chance, cells=(14, 90)), 0.15 + 0.25 * near)
        picture = cover(picture, sand, mask)
        side = ridge(
            size,
            [value - 0.25 + slope for value, slope in zip(crest, outline(chance, roughness=0.25), strict=True)],
            level=level,
            height=0.05 + 0.09 * near,
        )
        shade = ImageChops.subtract(mask, side).filter(ImageFilter.GaussianBlur(width / 300))
        picture = cover(picture, mix((176, 120, 100), (92, 48, 44), near), shade.point(lambda value: value * 0.7))
    return finish(
        glow(picture, spot(size, (width * 0.15, height * 0.35), (width * 0.5, width * 0.4)), (255, 214, 150)), chance
    )


def stars(size: Size, chance: Random) -> Image.Image:
    """The Milky Way over a wood with a lit tent."""
    width, height = size
    picture = ramp(size, [(10, 14, 34), vary((22, 34, 72), chance), (54, 74, 112), (146, 120, 118)])
    band = Image.new("L", (width * 2, height * 2))
    strip = ImageChops.multiply(
        clouds((width * 2, height // 2), chance, cells=(9, 3)),
        spot((width * 2, height // 2), (width, height / 4), (width * 1.4, height / 4)),
    )
    band.paste(strip, (0, height * 3 // 4))
    tilt = chance.choice((-1, 1)) * chance.uniform(35, 60)
    band = band.rotate(tilt, Image.Resampling.BILINEAR).crop(
        (width // 2, height // 2 + height // 5, width // 2 + width, height // 2 + height // 5 + height)
    )
    picture = glow(picture, band.point(lambda value: value * 0.75), (190, 176, 214))
    picture = ImageChops.screen(picture, _stars(size, chance, band))
    tent = (width * chance.uniform(0.35, 0.65), height * 0.915)
    picture = cover(picture, (10, 14, 20), forest(size, chance, foot=0.9, height=0.22, count=44))
    return finish(_tent(picture, chance, foot=tent), chance)


def _stars(size: Size, chance: Random, band: Image.Image) -> Image.Image:
    width, height = size
    sky = Image.new("RGB", size)
    haze = band.tobytes()
    for _ in range(width * height // 500):
        x, y = chance.randrange(width), chance.randrange(height)
        if chance.randrange(255) > 110 + haze[y * width + x]:
            continue
        bright = round(110 + 145 * chance.random() ** 3)
        tint: Colour = chance.choice(
            (
                (bright, bright, bright),
                (bright, bright * 9 // 10, bright * 8 // 10),
                (bright * 8 // 10, bright * 9 // 10, bright),
            )
        )
        sky.putpixel((x, y), tint)
    soft = sky.filter(ImageFilter.GaussianBlur(min(size) / 1_500))
    return ImageChops.add(soft, soft, scale=0.7)


def _tent(picture: Image.Image, chance: Random, *, foot: tuple[float, float]) -> Image.Image:
    x, y = foot
    unit = min(picture.size) / 100
    picture = glow(picture, spot(picture.size, (x, y), (unit * 26, unit * 14), power=1.6), (255, 150, 60))
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).polygon(
        [(x - unit * 7, y), (x - unit * 0.6, y - unit * 8), (x + unit * 0.6, y - unit * 8), (x + unit * 7.4, y)],
        fill=255,
    )
    canvas = ramp(picture.size, [(255, 190, 90)] * 2)
    canvas = Image.composite(
        canvas,
        Image.new("RGB", picture.size, vary((196, 84, 30), chance)),
        spot(picture.size, (x, y - unit), (unit * 8, unit * 8)),
    )
    return cover(picture, canvas, mask.filter(ImageFilter.GaussianBlur(unit / 6)))


def aurora(size: Size, chance: Random) -> Image.Image:
    """Northern lights over snow."""
    width, height = size
    picture = ramp(size, [(8, 14, 32), (14, 30, 56), vary((26, 62, 84), chance)])
    picture = ImageChops.screen(picture, _stars(size, chance, Image.new("L", size, 40)))
    for colour, level in (((60, 235, 150), 0.3), ((90, 220, 190), 0.2), ((170, 90, 210), 0.06)):
        rays = clouds(size, chance, cells=(26, 1))
        curtain = ImageChops.multiply(rays, stretch(clouds(size, chance, cells=(3, 1.2)), low=0.35, high=0.8))
        fade = spot(size, (width / 2, height * (level + 0.12)), (width * 0.9, height * 0.42), power=1.3)
        wave = _wave(ImageChops.multiply(curtain, fade), chance)
        picture = glow(picture, wave, vary(colour, chance))
    hills = ridge(size, outline(chance, roughness=0.5), level=0.72, height=0.1)
    picture = cover(picture, ramp(size, [(60, 90, 110), (34, 56, 78)]), hills)
    snow = texture(
        ramp(size, [(120, 176, 178), (120, 176, 178), (70, 104, 130)]), ground(size, chance, cells=(6, 14)), 0.3
    )
    picture = cover(picture, snow, ridge(size, outline(chance, roughness=0.25), level=0.84, height=0.04))
    return finish(cover(picture, (10, 20, 26), _clump(size, chance)), chance)


def _wave(curtain: Image.Image, chance: Random) -> Image.Image:
    """Bend a curtain of light up and down from column to column."""
    path = outline(chance, roughness=0.4, points=129)
    width, height = curtain.size
    bent = Image.new("L", curtain.size)
    step = width / 128
    for index in range(128):
        box = (round(index * step), 0, round((index + 1) * step), height)
        bent.paste(curtain.crop(box), (box[0], round(path[index] * height * 0.1)))
    return bent.filter(ImageFilter.GaussianBlur(width / 200))


def _clump(size: Size, chance: Random) -> Image.Image:
    """A few firs at one side only."""
    left = chance.choice((-0.05, 0.68))
    trees = forest(size, chance, foot=0.9, height=0.34, count=16, span=(left, left + 0.37))
    trees.paste(0, (0, round(size[1] * 0.915), *size))
    return trees
