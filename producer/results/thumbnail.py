"""A picture small enough to stand on a page of hundreds.

It decodes in this process. Give it only bytes that have been decoded before in a child, by
`clients.image_inspector.ImageInspector`: inputs are on upload, outputs before they are stored.
"""

import base64
import io
from dataclasses import dataclass

import pillow_heif
from PIL import Image, ImageOps

from clients.images import FORMATS

SIDE = 640  # pixels of the long side: sharp at half the width of the page
QUALITY = 80
_LARGEST_PROFILE = 16 * 1024  # bytes; Display P3 takes 548, printers' profiles take half a megabyte
_TURNED_BY = 5  # EXIF orientations from here on swap width and height
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """`data_uri`: a JPEG of at most SIDE pixels. `width`, `height`: of the whole picture, upright, in pixels."""

    data_uri: str
    width: int
    height: int


def make_thumbnail(data: bytes) -> Thumbnail | None:
    """Upright, with its colours and without its metadata; None if it cannot be decoded."""
    pillow_heif.register_heif_opener(thumbnails=False)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION, 1) >= _TURNED_BY:
                width, height = height, width
            return Thumbnail(_data_uri(_small(image)), width, height)
    except Exception:  # decoders of damaged bytes raise anything
        return None


def _small(image: Image.Image) -> Image.Image:
    scaled = image if image.mode in ("RGB", "RGBA", "L") else image.convert("RGBA")  # a palette cannot be scaled
    scaled.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    upright = ImageOps.exif_transpose(scaled)
    return upright if upright.mode in ("RGB", "L") else _on_white(upright)


def _on_white(image: Image.Image) -> Image.Image:
    paper = Image.new("RGB", image.size, "white")
    paper.paste(image, mask=image.getchannel("A"))
    return paper


def _data_uri(image: Image.Image) -> str:
    """Place, camera and comments stay behind: a sheet is passed on more freely than an original."""
    profile = image.info.get("icc_profile") or b""
    image.info.clear()
    file = io.BytesIO()
    kept = profile if len(profile) <= _LARGEST_PROFILE and image.mode == "RGB" else None
    image.save(file, "JPEG", quality=QUALITY, optimize=True, icc_profile=kept)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
