"""What a picture is, told by its bytes; and the same picture upright.

All of it is pure but reads what strangers made: run it in a child, through `clients.image_inspector` (`inspect`,
`prepare`) or `clients.image_survey` (`look`, `look_at_start`).
"""

import contextlib
import io
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pillow_heif
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from clients.image_costs import MAX_PIXELS, check_cost, check_pixels
from clients.image_faults import BadImage, damaged, is_heif, unidentified
from clients.image_jpeg import JpegLayout, read_jpeg
from clients.image_layout import exif_behind_pixels, is_cut_off, webp_size
from clients.image_png import check_png, png_chunks

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "QUALITY",
    "BadImage",
    "ImageInfo",
    "Prepared",
    "check_bytes",
    "inspect",
    "look",
    "look_at_start",
    "prepare",
    "upright",
]

MAX_BYTES = 64 * 2**20  # of a photo; phones write up to about 30 MB
QUALITY = 95  # what Phota itself transcodes training photos at
FORMATS = ("JPEG", "PNG", "WEBP", "HEIF")

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_CONTENT_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "HEIF": "image/heif"}
_EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/heic": "heic",
    "image/heif": "heif",
}
_SAVING: Mapping[str, Mapping[str, Any]] = {
    "JPEG": {"quality": QUALITY, "subsampling": "4:4:4"},
    "PNG": {},
    "WEBP": {"quality": QUALITY},
    "HEIF": {"quality": QUALITY, "chroma": 444},
}
_LONGEST_EXIF = 65_000  # bytes; a JPEG segment holds 65,535

pillow_heif.register_heif_opener(thumbnails=False)
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """`width` and `height` in pixels as stored, before `orientation` (EXIF, 1 to 8; 1 is upright) is applied.

    `format`: JPEG, PNG, WEBP or HEIF; `extension` without dot.
    """

    format: str
    content_type: str
    extension: str
    width: int
    height: int
    orientation: int


class Prepared(NamedTuple):
    """A picture made upright, or as it came, and what describes `data`."""

    info: ImageInfo
    data: bytes


def check_bytes(size: int) -> None:
    """Raise BadImage for a file that is larger than is taken."""
    if size > MAX_BYTES:
        raise BadImage("file_too_large", f"has {size / 2**20:.0f} MB; at most {MAX_BYTES // 2**20} are taken")


def look(data: bytes) -> ImageInfo:
    """What a picture's header says of it, and whether its end is there; no pixel is decoded.

    Raise BadImage, and never where `inspect` would not: a damage amid the pixels goes unseen.
    """
    with _opened(data) as (_, info):
        _check_end(info.format, data, len(data))
    return info


def look_at_start(first: bytes, total: int) -> ImageInfo | None:
    """`look`, where only the `first` bytes of `total` are at hand; None where the header goes on behind them.

    EXIF behind the pixels is not seen, so `orientation` of a PNG or WebP may be 1 by mistake. Raise BadImage.
    """
    check_bytes(total)
    if len(first) >= total:
        return look(first)
    return _webp_info(first, total) or _start_info(first, total)


def inspect(data: bytes) -> ImageInfo:
    """Recognise a picture and read all its pixels. Raise BadImage."""
    with _opened(data) as (image, info):
        _check_end(info.format, data, len(data))  # libheif, for one, fills tiles that are missing with grey
        if image.format == "PNG":
            check_png(data)
            return info
        if info.format == "JPEG":  # at an eighth of the size all bytes are still read, at a third of the cost
            image.draft(image.mode, (max(1, info.width // 8), max(1, info.height // 8)))
        image.load()
    return info


def upright(data: bytes, info: ImageInfo) -> bytes:
    """The picture as it is meant to be seen, in the same format, with its EXIF and colour profile.

    The same bytes if it is upright already; else encoded anew, at quality 95. Raise BadImage.
    """
    if info.orientation == 1:
        return data
    with _opened(data) as (image, _):
        turned = ImageOps.exif_transpose(image)
        kept = {"exif": _upright_exif(turned), "icc_profile": image.info.get("icc_profile")}
        file = io.BytesIO()
        turned.save(file, format=info.format, **kept, **_SAVING[info.format])
    return file.getvalue()


def prepare(data: bytes) -> Prepared:
    """`inspect` and `upright` in one. Raise BadImage."""
    info = inspect(data)
    if info.orientation == 1:
        return Prepared(info, data)
    turned = upright(data, info)
    size = (info.height, info.width) if info.orientation >= 5 else (info.width, info.height)
    return Prepared(replace(info, width=size[0], height=size[1], orientation=1), turned)


@contextlib.contextmanager
def _opened(data: bytes, total: int | None = None) -> Iterator[tuple[ImageFile.ImageFile, ImageInfo]]:
    """A picture of a known format, whose size is worth its bytes, not decoded yet; what its decoder says of it becomes
    BadImage. `total`: bytes of the file, if `data` is its start."""
    if not data:
        raise BadImage("empty_file", "the file is empty")
    try:
        layout = _checked_layout(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # all others are about metadata, and many good photos earn them
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                check_pixels(*image.size)
                if not image.info.get("primary", True):  # pillow-heif opens another one of the file in its place
                    raise damaged("its main picture cannot be read")
                if image.format == "PNG":  # else Pillow decodes the picture to find the EXIF behind its pixels
                    image.info.setdefault("exif", exif_behind_pixels(data))
                info, size = _info(image), len(data) if total is None else total
                is_turned = info.orientation != 1
                check_cost(info.format, image.size, data, size, is_turned=is_turned, layout=layout)
                yield image, info
    except UnidentifiedImageError:
        raise unidentified(data) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage("image_too_large", f"the image has more than {MAX_PIXELS:,} pixels") from None
    except MemoryError:
        raise BadImage("image_too_large", "the image needs too much memory to decode") from None
    except BadImage:
        raise
    except Exception as error:  # decoders of hostile bytes raise anything
        raise damaged(str(error)) from None


def _checked_layout(data: bytes) -> JpegLayout | None:
    """Of a JPEG; what would keep Pillow busy before it tells a size is refused for all formats. Raise BadImage."""
    if data.startswith(b"\xff\xd8\xff"):
        return read_jpeg(data)
    if data.startswith(b"\x89PNG"):
        deque(png_chunks(data), maxlen=0)
    if (size := webp_size(data)) is not None:
        check_pixels(*size)
    return None


def _check_end(kind: str, data: bytes, total: int) -> None:
    if is_cut_off(kind, data, total):
        raise BadImage("truncated_image", "the image is cut off: its end is missing")


def _start_info(first: bytes, total: int) -> ImageInfo | None:
    if is_heif(first):
        _check_end("HEIF", first, total)
        first = first.ljust(total, b"\0")  # libheif opens none whose pixels are not there; they are not read
    try:
        with _opened(first, total) as (_, info):
            return info
    except BadImage as error:
        if error.code == "truncated_image":
            return None
        raise


def _webp_info(first: bytes, total: int) -> ImageInfo | None:
    """Of a WebP that is not all there, which Pillow does not open. Raise BadImage."""
    size = webp_size(first)
    if size is None:
        return None
    check_pixels(*size)
    _check_end("WEBP", first, total)
    return ImageInfo("WEBP", _CONTENT_TYPES["WEBP"], "webp", *size, 1)


def _info(image: ImageFile.ImageFile) -> ImageInfo:
    kind = "JPEG" if image.format == "MPO" else str(image.format)  # a phone's JPEG with a second picture behind it
    content_type = _CONTENT_TYPES[kind]
    if kind == "HEIF":
        content_type = image.get_format_mimetype() or content_type
    content_type = content_type.removesuffix("-sequence")
    return ImageInfo(kind, content_type, _EXTENSIONS[content_type], *image.size, _orientation(image))


def _orientation(image: Image.Image) -> int:
    """From EXIF; 1 where it is missing or makes no sense, which spoils no picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = image.getexif().get(_ORIENTATION, 1)
        except Exception:
            return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright_exif(image: Image.Image) -> bytes:
    """The EXIF of an image that was turned; none where it cannot be written again, which spoils no picture either."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exif = image.getexif()
            exif[_ORIENTATION] = 1
            written = exif.tobytes()
        except Exception:
            return b""
    return written if len(written) <= _LONGEST_EXIF else b""
