"""What a picture takes to decode, told by its header, and whether its bytes are worth it.

A file of a kilobyte may say that it has 200 megapixels, and be right: those are white. Photos are another matter: of
the largest that phones write, each byte holds 5 to 15 pixels. So what takes little memory is decoded whoever made it,
and what takes more only if it has the bytes of a photo.
"""

from clients.image_faults import BadImage
from clients.image_jpeg import JpegLayout, coded_bytes
from clients.image_layout import picture_bytes

MAX_PIXELS = 200_000_000  # the largest phone sensors have so many
MODEST_BYTES = 272 * 2**20  # memory that any picture may take; 4096 x 4096 pixels of WebP need 256 MB
PIXELS_PER_BYTE = 50  # of larger ones, at most; a photo has 2 to 15, a single colour in JPEG 67 to 170

# Bytes a pixel, measured with Pillow 13 and libheif 1.23. JPEG is read at an eighth of its size, PNG row by row.
_DECODED = {"JPEG": 0, "PNG": 0, "WEBP": 16, "HEIF": 8}
_TURNED = 8  # the picture twice, in four bytes a pixel


def check_pixels(width: int, height: int) -> None:
    """Raise BadImage for more than are taken."""
    if width * height > MAX_PIXELS:
        raise BadImage("image_too_large", f"the image has {width} x {height} pixels, more than {MAX_PIXELS:,}")


def check_cost(
    kind: str, size: tuple[int, int], data: bytes, total: int, *, is_turned: bool, layout: JpegLayout | None
) -> None:
    """`data`: the file of `total` bytes, or its start. `layout`: of a JPEG. Raise BadImage."""
    pixels = size[0] * size[1]
    worth, memory = total, pixels * _DECODED[kind]
    if kind in ("WEBP", "HEIF"):
        worth = picture_bytes(kind, data, total)
    if layout is not None:
        is_whole = len(data) == total
        worth = coded_bytes(data, layout, pixels) if is_whole else total - layout.scan
        memory = layout.coefficients
    memory += pixels * _TURNED if is_turned else 0
    if memory > MODEST_BYTES and worth * PIXELS_PER_BYTE < pixels:
        reason = f"{size[0]} x {size[1]} pixels unfold from {worth / 1000:,.0f} KB, and no photo is so small"
        raise BadImage("image_too_large", f"the image looks like a decompression bomb: {reason}")
