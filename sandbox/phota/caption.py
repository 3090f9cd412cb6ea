"""A prompt written under a picture, so that everybody sees what was asked for."""

import math

from PIL import Image, ImageDraw, ImageFont

_LINES = 3
_MOST_LETTERS = 1000  # more than three lines hold; each one that is too many is measured


def caption(picture: Image.Image, text: str, *, note: str) -> Image.Image:
    """The picture with the text on a shaded strip at its bottom, and a small note above it; the size stays."""
    width, height = picture.size
    unit = math.sqrt(width * height) / 100
    font = ImageFont.load_default(max(9, unit * 3.4))
    small = ImageFont.load_default(max(7, unit * 2))
    lines = _wrap(text or "no prompt", font, round(width - unit * 10))
    leading = unit * 4.6
    tall = leading * len(lines) + unit * 6
    shaded = _shade(picture, round(tall + unit * 8))
    draw = ImageDraw.Draw(shaded)
    top = height - tall
    draw.rectangle((unit * 3.4, top + unit * 0.4, unit * 3.9, height - unit * 2.6), fill=(255, 190, 92))
    draw.text((unit * 5.4, top), note, font=small, fill=(255, 206, 130))
    for number, line in enumerate(lines):
        draw.text((unit * 5.4, top + unit * 3.1 + number * leading), line, font=font, fill=(255, 255, 255))
    return shaded


def _shade(picture: Image.Image, tall: int) -> Image.Image:
    """Darken towards the bottom, most of it where the words stand."""
    width, height = picture.size
    fade = Image.linear_gradient("L").point([round(228 * min(1.0, value / 130)) for value in range(256)])
    mask = Image.new("L", picture.size)
    mask.paste(fade.resize((width, tall)), (0, height - tall))
    return Image.composite(Image.new("RGB", picture.size, (14, 14, 20)), picture, mask)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Lines that fit a width in pixels; what does not fit three lines ends in an ellipsis."""
    lines: list[str] = [""]
    for word in text[:_MOST_LETTERS].split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    shown = lines[:_LINES]
    is_cut = len(lines) > _LINES
    return [_clip(line, font, width, is_cut=is_cut and line is shown[-1]) for line in shown]


def _clip(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, *, is_cut: bool) -> str:
    if font.getlength(line) <= width and not is_cut:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line.rstrip() + "…"
