"""From an order and its input pictures to finished files. Pure work for a thread: no network, no state."""

import io
from typing import Any

import pillow_heif
from PIL import Image, ImageFilter, ImageOps, ImageStat

from sandbox.painting import paint, scene_for
from sandbox.phota.caption import caption
from sandbox.phota.enhance import enhance
from sandbox.phota.errors import PhotaError
from sandbox.phota.grade import regrade
from sandbox.phota.inputs import invalid_image
from sandbox.phota.requests import Order

pillow_heif.register_heif_opener()

_LONG_SIDE = {"1K": 1_024, "2K": 2_048, "4K": 4_096}
_INPUT_MAX = 4_096  # documented: larger inputs are brought down to this long side
_PAINTED_MAX = 1_280  # scenes are painted at most so large, then enlarged: they hold no finer detail
_SAVE: dict[str, dict[str, Any]] = {
    "jpg": {"format": "JPEG", "quality": 90},
    "png": {"format": "PNG", "compress_level": 2},
}


def render(order: Order, inputs: list[bytes]) -> list[bytes]:
    """One file an output, in the order's format; raise PhotaError INVALID_IMAGE for an input that does not decode."""
    pictures = [decode(data) for data in inputs]
    return [_encode(_one(order, pictures, variation), order.format) for variation in range(order.count)]


def decode(data: bytes) -> Image.Image:
    """An upright RGB picture; raise PhotaError INVALID_IMAGE."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (_INPUT_MAX, _INPUT_MAX))
            upright = ImageOps.exif_transpose(image)
            return _flatten(upright)
    except Exception as error:
        raise invalid_image("the image could not be decoded") from error


def profile_picture(profile_id: str) -> bytes:
    """A JPEG of 512 × 512, the same for the same profile."""
    return _encode(paint("portrait", (512, 512), seed=profile_id), "jpg")


def _flatten(image: Image.Image) -> Image.Image:
    """RGB on white, within the largest input size."""
    image.thumbnail((_INPUT_MAX, _INPUT_MAX), Image.Resampling.LANCZOS)
    if not image.has_transparency_data:
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")


def _one(order: Order, pictures: list[Image.Image], variation: int) -> Image.Image:
    match order.operation:
        case "enhance":
            better = enhance(pictures[0], variation=variation)
            return regrade(better, order.prompt) if order.prompt else better
        case "remix":
            return _remix(order, pictures[0], pictures[1], variation)
        case "edit":
            return _edit(order, pictures, variation)
        case "generate":
            return _generate(order, variation)
    raise PhotaError(400, "BAD_REQUEST", f"no such operation: {order.operation}")


def _edit(order: Order, pictures: list[Image.Image], variation: int) -> Image.Image:
    size = _size(order, like=pictures[0].size)
    picture = regrade(ImageOps.fit(pictures[0], size, Image.Resampling.LANCZOS), order.prompt, variation=variation)
    for place, inset in enumerate(pictures[1:]):
        _inset(picture, regrade(inset, order.prompt, variation=variation), place=place)
    return caption(picture, order.prompt, note=_note(order, variation))


def _generate(order: Order, variation: int) -> Image.Image:
    size = _size(order, like=(1, 1))
    share = min(1.0, _PAINTED_MAX / max(size))
    small = (round(size[0] * share), round(size[1] * share))
    painted = paint(scene_for(order.prompt), small, seed=f"{order.prompt} {variation}")
    picture = painted.resize(size, Image.Resampling.LANCZOS)
    return caption(picture, order.prompt, note=_note(order, variation))


def _remix(order: Order, content: Image.Image, style: Image.Image, variation: int) -> Image.Image:
    """The content in the colours of the reference; its shapes stay."""
    size = _size(order, like=content.size)
    picture = ImageOps.fit(content, size, Image.Resampling.LANCZOS)
    wash = style.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(max(size) / 12))
    mixed = Image.blend(_match(picture, style), wash, 0.12 + 0.05 * variation)
    return caption(mixed, order.prompt, note=_note(order, variation)) if order.prompt else mixed


def _match(picture: Image.Image, style: Image.Image) -> Image.Image:
    """Give each channel the mean and the spread it has in the other picture."""
    own, wanted = ImageStat.Stat(picture), ImageStat.Stat(style)
    table: list[int] = []
    for band in range(3):
        spread = min(1.4, max(0.7, wanted.stddev[band] / max(1.0, own.stddev[band])))
        table += [round((value - own.mean[band]) * spread + wanted.mean[band]) for value in range(256)]
    return Image.blend(picture, picture.point([min(255, max(0, value)) for value in table]), 0.7)


def _inset(picture: Image.Image, photo: Image.Image, *, place: int) -> None:
    """A further input as a small framed print, from the top right to the left, four a row."""
    side = round(min(picture.size) * 0.2)
    gap = max(2, side // 12)
    print_ = ImageOps.expand(ImageOps.fit(photo, (side, side), Image.Resampling.LANCZOS), max(2, side // 24), "white")
    column, row = place % 4, place // 4
    left = picture.width - (column + 1) * (print_.width + gap)
    picture.paste(print_, (left, gap + row * (print_.height + gap)))


def _size(order: Order, *, like: tuple[int, int]) -> tuple[int, int]:
    """Pixels of an output: the long side by resolution, the shape by ratio, `like` for auto."""
    across, down = like if order.aspect_ratio == "auto" else map(int, order.aspect_ratio.split(":"))
    share = _LONG_SIDE[order.resolution] / max(across, down)
    return max(1, round(across * share)), max(1, round(down * share))


def _note(order: Order, variation: int) -> str:
    number = f" · {variation + 1} of {order.count}" if order.count > 1 else ""
    return f"simulated {order.operation} · {order.base_model} {order.resolution}{number}"


def _encode(picture: Image.Image, extension: str) -> bytes:
    target = io.BytesIO()
    picture.save(target, **_SAVE[extension])
    return target.getvalue()
