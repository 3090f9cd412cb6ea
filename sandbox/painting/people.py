"""Scenes that people made or stand in: towns, portraits, flowers, balloons, a table."""

import math
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from sandbox.painting.light import Colour, cover, finish, glow, mix, ramp, spot, texture, vary
from sandbox.painting.nature import _mirror
from sandbox.painting.noise import Size, clouds, ground, outline, ridge, stretch
from sandbox.painting.shapes import balloon, bust, poppy, skyline

_LAMPS: tuple[Colour, ...] = (
    (255, 176, 92),
    (255, 206, 140),
    (255, 112, 72),
    (120, 190, 255),
    (255, 236, 210),
    (240, 90, 130),
)


def _bokeh(
    size: Size, chance: Random, *, count: int, reach: float, colours: tuple[Colour, ...] = _LAMPS
) -> Image.Image:
    """Lights far out of focus: discs with a brighter rim, up to `reach` of the picture's shorter side across."""
    picture = Image.new("RGB", size)
    for _ in range(count):
        radius = round(min(size) * reach * chance.uniform(0.35, 1) / 2)
        disc = Image.new("L", (radius * 2 + 1, radius * 2 + 1))
        strength = chance.randint(50, 190)
        draw = ImageDraw.Draw(disc)
        draw.ellipse((0, 0, radius * 2, radius * 2), fill=strength)
        draw.ellipse((radius * 0.1, radius * 0.1, radius * 1.9, radius * 1.9), fill=strength * 4 // 5)
        disc = disc.filter(ImageFilter.GaussianBlur(radius / 22))
        where = (chance.randint(-radius, size[0]), round(size[1] * min(1, max(0, chance.gauss(0.5, 0.2)))) - radius)
        layer = Image.new("RGB", size)
        layer.paste(vary(chance.choice(colours), chance), where, disc)
        picture = ImageChops.screen(picture, layer)
    return picture


def bokeh(size: Size, chance: Random) -> Image.Image:
    """A street at night, seen through a lens that is focused on nothing."""
    width, height = size
    picture = ramp(size, [(10, 12, 26), vary((34, 28, 50), chance), (44, 30, 34), (12, 10, 16)])
    small = (width // 2, height // 2)
    far = _bokeh(small, chance, count=110, reach=0.06)
    near = _bokeh(small, chance, count=22, reach=0.2)
    picture = ImageChops.screen(picture, far.resize(size, Image.Resampling.BICUBIC))
    picture = ImageChops.screen(picture, near.resize(size, Image.Resampling.BICUBIC))
    wet = ImageOps.flip(picture).crop((0, 0, width, height // 3)).filter(ImageFilter.GaussianBlur(height / 60))
    streaks = texture(wet, ground(wet.size, chance, cells=(30, 60)), 0.6)
    shine = ramp(wet.size, [(0, 0, 0), (150, 150, 150)]).convert("L")
    picture.paste(streaks, (0, height - wet.height), shine)
    return finish(picture, chance)


def portrait(size: Size, chance: Random) -> Image.Image:
    """Somebody against the evening light, edged by it."""
    width, height = size
    warm = chance.choice(
        (((255, 196, 120), (214, 110, 70)), ((246, 208, 150), (110, 130, 90)), ((250, 180, 150), (96, 84, 130)))
    )
    picture = ramp(size, [vary(warm[0], chance), vary(warm[1], chance), mix(warm[1], (30, 24, 30), 0.6)])
    lights = _bokeh((width // 2, height // 2), chance, count=24, reach=0.16, colours=(warm[0], (255, 230, 180)))
    picture = ImageChops.screen(picture, lights.resize(size, Image.Resampling.BICUBIC).point(lambda value: value * 0.6))
    tall = height * 0.82
    x = width * chance.uniform(0.42, 0.58)
    sun = (x + width * chance.choice((-0.16, 0.16)), height * 0.3)
    picture = glow(picture, spot(size, sun, (height * 0.6, height * 0.6), power=1.3), (255, 220, 160))
    mask = bust(size, chance, x=x, top=height * 0.16, height=tall)
    body = ramp(size, [mix(warm[1], (40, 26, 26), 0.72), mix(warm[1], (24, 18, 24), 0.85), (16, 14, 20)])
    body = texture(body, clouds(size, chance, cells=(10, 10)), 0.2)
    unit = max(1, min(size) // 110)
    shift = ImageChops.offset(mask.filter(ImageFilter.GaussianBlur(unit)), unit if sun[0] < x else -unit, unit)
    rim = ImageChops.subtract(mask, shift).filter(ImageFilter.GaussianBlur(unit / 3))
    return finish(glow(cover(picture, body, mask), rim, (255, 206, 140)), chance)


def flowers(size: Size, chance: Random) -> Image.Image:
    """Poppies in a meadow, a few of them in focus."""
    width, height = size
    colour = chance.choice(((214, 44, 36), (228, 120, 40), (196, 70, 130)))
    picture = ramp(size, [vary((176, 196, 150), chance), (122, 152, 84), (70, 104, 48), (34, 58, 28)])
    lumps = stretch(clouds(size, chance, cells=(9, 7)), low=0.3, high=0.9, strength=0.5)
    picture = cover(picture, (206, 216, 130), lumps).filter(ImageFilter.GaussianBlur(width / 60))
    for blur, count, scale in ((26, 26, 0.07), (10, 12, 0.11), (0, 5, 0.23)):
        picture = _bed(picture, chance, colour=colour, count=count, scale=scale)
        if blur:
            picture = picture.filter(ImageFilter.GaussianBlur(blur * width / 1_600))
    return finish(glow(picture, spot(size, (width * 0.8, 0), (width * 0.7, height * 0.7)), (255, 240, 180)), chance)


def _bed(picture: Image.Image, chance: Random, *, colour: Colour, count: int, scale: float) -> Image.Image:
    width, height = picture.size
    draw = ImageDraw.Draw(picture)
    places = sorted(
        (chance.uniform(0.25, 0.75) + scale * 0.4, (index + chance.random()) / count) for index in range(count)
    )
    heads = []
    for y, x in places:
        foot = (x + chance.uniform(-0.04, 0.04), 1.02)
        bend = [
            (x + (foot[0] - x) * t + 0.012 * math.sin(3 * t), y + (foot[1] - y) * t)
            for t in (i / 12 for i in range(13))
        ]
        draw.line(
            [(a * width, b * height) for a, b in bend],
            fill=vary((62, 96, 44), chance),
            width=max(1, round(scale * width / 28)),
            joint="curve",
        )
        heads.append(
            (poppy(chance, width=max(8, round(scale * width * chance.uniform(0.75, 1.1))), colour=colour), x, y)
        )
    for head, x, y in heads:
        picture.paste(head, (round(x * width - head.width / 2), round(y * height - head.height / 2)), head)
    return picture


def city(size: Size, chance: Random) -> Image.Image:
    """A skyline across the water in the blue hour."""
    width, height = size
    shore = round(height * 0.66)
    upper = ramp((width, shore), [vary((24, 38, 82), chance), (60, 82, 136), (150, 130, 160), (246, 176, 130)])
    upper = cover(
        upper, (110, 96, 140), stretch(clouds(upper.size, chance, cells=(2, 6)), low=0.55, high=1, strength=0.6)
    )
    for near, tall in ((0.35, 0.42), (0.7, 0.5), (1.0, 0.36)):
        walls, windows = skyline(upper.size, chance, foot=1.0, height=tall)
        tone = mix((130, 118, 150), (22, 26, 46), near)
        upper = cover(upper, ramp(upper.size, [tone, mix(tone, (90, 70, 90), 0.35)]), walls)
        shown = ImageChops.multiply(windows, walls).point([round(value * near) for value in range(256)])
        upper = glow(upper, shown, (255, 206, 130))
        upper = glow(upper, shown.filter(ImageFilter.GaussianBlur(width / 200)), (200, 130, 60))
    return finish(_mirror(upper, size, chance), chance)


def balloons(size: Size, chance: Random) -> Image.Image:
    """Balloons over misty hills in the morning."""
    width, height = size
    picture = ramp(size, [vary((116, 168, 214), chance), (186, 208, 222), (250, 222, 190), (252, 206, 160)])
    picture = cover(
        picture, (255, 250, 244), stretch(clouds(size, chance, cells=(2.5, 4)), low=0.5, high=1, strength=0.6)
    )
    for layer, level in enumerate((0.72, 0.8, 0.9)):
        tone = mix((186, 186, 186), (62, 92, 70), (layer + 1) / 3)
        hill = texture(
            ramp(size, [tone, tone, mix(tone, (240, 226, 200), 0.4)]), clouds(size, chance, cells=(16, 12)), 0.3
        )
        picture = cover(picture, hill, ridge(size, outline(chance, roughness=0.42), level=level, height=0.05))
    hues: list[Colour] = [(206, 56, 46), (242, 186, 60), (46, 96, 160), (240, 236, 226), (232, 120, 50), (66, 140, 120)]
    columns = chance.sample(range(6), 6)
    for index, share in enumerate((0.05, 0.06, 0.075, 0.1, 0.15, 0.23)):
        pair = chance.sample(hues, 2)
        shape = balloon(chance, width=max(6, round(min(size) * share * 1.1)), colours=(pair[0], pair[1]))
        veil = Image.new("RGBA", shape.size, (214, 216, 220, round(110 * (1 - index / 5))))
        hazy = Image.composite(Image.alpha_composite(shape, veil), shape, shape.getchannel("A"))
        where = (
            round(width * (columns[index] + chance.uniform(0.2, 0.7)) / 6 - shape.width / 2),
            round(height * chance.uniform(0.06, 0.38)),
        )
        picture.paste(hazy, where, shape.getchannel("A"))
    return finish(
        glow(picture, spot(size, (width * 0.1, height * 0.5), (width * 0.6, height * 0.6)), (255, 220, 170)), chance
    )


def table(size: Size, chance: Random) -> Image.Image:
    """Fruit on a table beside a window."""
    width, height = size
    edge = round(height * 0.6)
    picture = ramp(size, [vary((92, 96, 92), chance), (70, 70, 66), (48, 44, 40)])
    picture = glow(
        texture(picture, clouds(size, chance, cells=(5, 4)), 0.25),
        spot(size, (0, height * 0.15), (width * 0.8, height * 0.8)),
        (150, 140, 116),
    )
    wood = ramp((width, height - edge), [(122, 82, 52), (96, 60, 36), (58, 34, 22)])
    wood = texture(wood, ground(wood.size, chance, cells=(3, 160)), 0.55)
    picture.paste(glow(wood, spot(wood.size, (width * 0.15, 0), (width * 0.7, height * 0.6)), (110, 90, 60)), (0, edge))
    spots = [(0.3, 0.62, 0.13), (0.52, 0.6, 0.15), (0.42, 0.72, 0.14), (0.66, 0.7, 0.13), (0.78, 0.63, 0.1)]
    for x, y, radius in spots:
        hue = vary(chance.choice(((232, 132, 30), (240, 150, 40), (200, 50, 40), (196, 176, 60))), chance)
        place = (width * (x + chance.uniform(-0.02, 0.02)), height * y)
        picture = _fruit(picture, chance, centre=place, radius=min(size) * radius, colour=hue)
    return finish(picture, chance, vignette=0.35)


def _fruit(
    picture: Image.Image, chance: Random, *, centre: tuple[float, float], radius: float, colour: Colour
) -> Image.Image:
    x, y = centre
    shadow = spot(picture.size, (x + radius * 0.55, y + radius * 0.82), (radius * 1.7, radius * 0.5), power=0.7)
    picture = cover(picture, (16, 10, 8), shadow.point(lambda value: value * 0.75))
    big = round(radius * 2)
    ball = Image.new("RGB", (big, big), mix(colour, (24, 8, 6), 0.78))
    ball = Image.composite(
        Image.new("RGB", ball.size, colour),
        ball,
        spot(ball.size, (big * 0.36, big * 0.34), (big * 0.72, big * 0.72), power=0.8),
    )
    ball = texture(ball, clouds(ball.size, chance, cells=(40, 40), octaves=2), 0.14)
    ball = glow(ball, spot(ball.size, (big * 0.32, big * 0.27), (big * 0.22, big * 0.18), power=1.5), (200, 190, 170))
    edge = Image.new("L", (big * 2, big * 2))
    ImageDraw.Draw(edge).ellipse((4, 4, big * 2 - 5, big * 2 - 5), fill=255)
    picture.paste(ball, (round(x - radius), round(y - radius)), edge.resize((big, big), Image.Resampling.LANCZOS))
    return picture
