"""Why a file is not taken, and what bytes are that are no photo."""

_SUPPORTED_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_FOREIGN = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF or camera raw",
    b"MM\0*": "TIFF or camera raw",
    b"%PDF": "PDF",
    b"PK\3\4": "a ZIP archive",
    b"8BPS": "Photoshop",
    b"\0\0\1\0": "icon",
    b"<svg": "SVG",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"\0\0\0\x0cJXL": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
}


class BadImage(Exception):  # noqa: N818 - says what the file is
    """`code`: empty_file, not_an_image, unsupported_format, truncated_image, image_too_large, file_too_large,
    image_too_slow, image_crashed_decoder. Pickles, since it comes from a child."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


def damaged(how: str) -> BadImage:
    """`how`: in a decoder's words, which may quote the file."""
    said = "".join(letter if letter.isprintable() else " " for letter in how).strip()
    return BadImage("truncated_image", f"the image is cut off or damaged: {said}"[:300])


def unidentified(data: bytes) -> BadImage:
    """Why the bytes are none of the known formats."""
    start = data[:512].lstrip()
    if data.startswith(_SUPPORTED_STARTS) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP") or is_heif(data):
        return BadImage("truncated_image", "the image is cut off or damaged at its very beginning")
    name = next((name for magic, name in _FOREIGN.items() if data.startswith(magic) or start.startswith(magic)), None)
    if data[4:8] == b"ftyp":
        name = "AVIF" if data[8:12] in (b"avif", b"avis") else "video"
    if name is not None:
        return BadImage("unsupported_format", f"this is {name}; JPEG, PNG, WebP and HEIC are taken")
    if start[:1] == b"<":
        return BadImage("not_an_image", "this is a web page or XML, not an image")
    return BadImage("not_an_image", "this is not an image")


def is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS
