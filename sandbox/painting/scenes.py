"""The scenes by name, and which one a sentence asks for."""

import zlib
from collections.abc import Callable
from random import Random

from PIL import Image

from sandbox.painting import nature, people
from sandbox.painting.noise import Size

SCENES: dict[str, Callable[[Size, Random], Image.Image]] = {
    "lake": nature.lake,
    "sea": nature.sea,
    "fog": nature.fog,
    "dunes": nature.dunes,
    "stars": nature.stars,
    "aurora": nature.aurora,
    "bokeh": people.bokeh,
    "portrait": people.portrait,
    "flowers": people.flowers,
    "city": people.city,
    "balloons": people.balloons,
    "table": people.table,
}
_WORDS = {  # the more particular first: it wins a draw
    "portrait": "portrait headshot person people woman man girl boy child family couple smile face selfie [[",
    "balloons": "balloon sky morning festival birthday",
    "aurora": "aurora snow winter north arctic ice christmas holiday",
    "flowers": "flower popp garden meadow spring rose",
    "table": "fruit food table kitchen orange apple still life",
    "stars": "star night milky camp tent galaxy",
    "fog": "forest fog mist tree wood pine jungle",
    "dunes": "desert dune sand sahara",
    "bokeh": "street light bokeh neon rain party",
    "city": "city skyline building office town tower",
    "sea": "sea ocean beach wave sunset coast boat surf",
    "lake": "lake mountain river alps reflection hill",
}


def scene_for(text: str) -> str:
    """The scene that most words of a text point to; one picked by the text itself if none does."""
    lower = text.lower()
    hits = {name: sum(word in lower for word in words.split()) for name, words in _WORDS.items()}
    best = max(hits, key=lambda name: hits[name])
    return best if hits[best] else sorted(SCENES)[zlib.crc32(lower.encode()) % len(SCENES)]


def paint(name: str, size: Size, *, seed: int | str) -> Image.Image:
    """An RGB picture of (width, height) pixels; same name, size and seed, same picture."""
    return SCENES[name](size, Random(f"{name} {seed}"))  # noqa: S311 - chance, not secrets
