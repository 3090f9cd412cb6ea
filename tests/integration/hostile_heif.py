"""HEIFs put together box by box: pictures made of themselves, of too much, or of what is not there."""

import functools
import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pillow_heif
from PIL import Image

from tests.integration.hostile_jpeg import Hostile, photo

_CUT, _BOMB = "truncated_image", "image_too_large"
_FTYP = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic")
_TILE = 64  # pixels a side

pillow_heif.register_heif_opener(thumbnails=False)


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def full(name: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(name, struct.pack(">I", version << 24 | flags), *parts)


@functools.cache
def tile(side: int = _TILE) -> tuple[bytes, bytes]:
    """Grey: the box that says how to decode it, and its bits."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (90, 120, 80)).save(file, "HEIF", quality=40)
    data = file.getvalue()
    return _content(data, b"hvcC"), _content(data, b"mdat")[8:]


def _content(data: bytes, name: bytes) -> bytes:
    at = data.index(name) - 4
    return data[at : at + int.from_bytes(data[at : at + 4], "big")]


def size(width: int, height: int) -> bytes:
    return full(b"ispe", 0, 0, struct.pack(">II", width, height))


@dataclass(frozen=True)
class Item:
    """`content` stands in the file's own box for small things if it is not None, else it is the tile's bits.

    `properties`: numbers from 1 on, of those of the file. `made_of`: other items.
    """

    kind: bytes = b"hvc1"
    content: bytes | None = None
    properties: Sequence[int] = (1, 2)
    made_of: Sequence[int] = ()
    is_hidden: bool = False


@dataclass(frozen=True)
class Heif:
    """`items` by their number; the first of them is the picture."""

    items: Mapping[int, Item]
    properties: Sequence[bytes] = (*(tile()[0], size(_TILE, _TILE)),)
    primary: int = 1
    bits: bytes = tile()[1]
    offset: int = 0  # added to where the bits stand
    more: bytes = b""  # boxes

    def file(self) -> bytes:
        before = len(_FTYP) + len(self._meta(0)) + 8
        return _FTYP + self._meta(before + self.offset) + box(b"mdat", self.bits)

    def _meta(self, bits_at: int) -> bytes:
        entries = [
            full(b"infe", 2, item.is_hidden, struct.pack(">HH4s", number, 0, item.kind), b"\0")
            for number, item in self.items.items()
        ]
        handler = full(b"hdlr", 0, 0, bytes(4), b"pict", bytes(13))
        names = full(b"iinf", 0, 0, struct.pack(">H", len(entries)), *entries)
        primary = full(b"pitm", 0, 0, struct.pack(">H", self.primary))
        return full(
            b"meta", 0, 0, handler, primary, self._places(bits_at), names, self._links(), self._looks(), self.more
        )

    def _places(self, bits_at: int) -> bytes:
        rows, small = [], b""
        for number, item in self.items.items():
            if item.content is None:
                place = struct.pack(">HHHHII", number, 0, 0, 1, bits_at & 0xFFFFFFFF, len(self.bits))
            else:
                place = struct.pack(">HHHHII", number, 1, 0, 1, len(small), len(item.content))
                small += item.content
            rows.append(place)
        return full(b"iloc", 1, 0, struct.pack(">HH", 0x4400, len(rows)), *rows) + box(b"idat", small)

    def _links(self) -> bytes:
        links = [
            box(b"dimg", struct.pack(f">HH{len(item.made_of)}H", number, len(item.made_of), *item.made_of))
            for number, item in self.items.items()
            if item.made_of
        ]
        return full(b"iref", 0, 0, *links) if links else b""

    def _looks(self) -> bytes:
        rows = [
            struct.pack(">HB", number, len(item.properties)) + bytes(item.properties)
            for number, item in self.items.items()
        ]
        return box(b"iprp", box(b"ipco", *self.properties), full(b"ipma", 0, 0, struct.pack(">I", len(rows)), *rows))


def grid(
    columns: int, rows: int, width: int, height: int, *, tiles: int | None = None, side: int = _TILE, said: int = 0
) -> Heif:
    """Tiles of `side` pixels that are all the same bits. `said`: what they say they have."""
    count = columns * rows if tiles is None else tiles
    content = struct.pack(">BBBBII", 0, 1, (rows - 1) & 255, (columns - 1) & 255, width, height)
    numbers = range(2, 2 + count)
    decoder, bits = tile(side)
    looks = (decoder, size(said or side, said or side), size(width, height))
    picture = Item(b"grid", content, (3,), tuple(numbers))
    return Heif({1: picture, **dict.fromkeys(numbers, Item(is_hidden=True))}, looks, bits=bits)


def heif_files() -> Iterator[Hostile]:
    yield from _boxes()
    yield from _sizes()
    yield from _grids()
    yield from _circles()
    yield from _properties()
    yield from _kinds()


def _boxes() -> Iterator[Hostile]:
    good = Heif({1: Item()}).file()
    meta = good[len(_FTYP) :]
    yield "heic, only its brand", _FTYP, _CUT
    yield "heic of twelve bytes", _FTYP[:12], _CUT
    yield "heic without a directory", _FTYP + box(b"mdat", bytes(99)), _CUT
    yield "heic, an empty directory", _FTYP + full(b"meta", 0, 0), _CUT
    yield "heic, a box of no length", _FTYP + b"\0\0\0\0" + meta[4:], "64x64"
    yield "heic, a box of four bytes", _FTYP + b"\0\0\0\4" + meta[4:], _CUT
    yield "heic, a box of 4 GB", _FTYP + b"\xff\xff\xff\xff" + meta[4:], _CUT
    yield "heic, a box of 2**63", _FTYP + b"\0\0\0\1meta\x7f" + b"\xff" * 7 + meta[8:], _CUT
    nested = b""
    for _ in range(3_000):
        nested = box(b"ipco", nested)
    yield "heic, boxes 3,000 deep", Heif({1: Item()}, more=box(b"iprp", nested)).file(), _CUT
    many = Heif({1: Item()}, more=box(b"free") * 200_000).file()
    yield "heic, 200,000 empty boxes", many, _CUT
    brands = struct.pack(">I4s4sI", 16 + 400_000, b"ftyp", b"heic", 0) + b"mif1" * 100_000
    yield "heic, 100,000 brands", brands + meta, _CUT
    yield "heic with the brand of AVIF", good.replace(b"ftypheic", b"ftypavif"), "unsupported_format"
    yield "heic with the brand of a film", good.replace(b"ftypheic", b"ftypisom"), "unsupported_format"
    yield "heic, two directories", good + meta, "64x64"
    yield "heic, bits of zeros", good[: -len(tile()[1])] + bytes(len(tile()[1])), _CUT
    yield "heic, bits that are not there", Heif({1: Item()}, offset=10**6).file(), _CUT
    yield "heic, bits before the file", Heif({1: Item()}, offset=-(10**6)).file(), _CUT


def _sizes() -> Iterator[Hostile]:
    for width, height, outcome in (
        (0, 64, _CUT),
        (64, 0, _CUT),
        (65_535, 65_535, _BOMB),
        (2**32 - 1, 2**32 - 1, _CUT),
        (14_000, 14_000, _BOMB),
        (5_000, 5_000, _CUT),
        (16, 16, _CUT),
    ):
        looks = (tile()[0], size(width, height))
        yield f"heic, 64 x 64 that says {width} x {height}", Heif({1: Item()}, looks).file(), outcome
    file = io.BytesIO()
    Image.new("RGB", (1_024, 1_024)).save(file, "HEIF", quality=10)
    data = file.getvalue()
    at = data.index(b"ispe") + 8
    yield "heic, a megapixel that says 64 x 64", data[:at] + struct.pack(">II", 64, 64) + data[at + 8 :], _CUT


def _grids() -> Iterator[Hostile]:
    yield "heic, a grid of one tile", grid(1, 1, 64, 64).file(), "64x64"
    yield "heic, a grid of 900 tiles that are one", grid(30, 30, 1920, 1920).file(), "1920x1920"
    yield "heic, 34 megapixels of one tile", grid(30, 31, 5_760, 5_952, side=192).file(), "5760x5952"
    yield "heic, 36 megapixels of one tile", grid(31, 31, 5_952, 5_952, side=192).file(), "5952x5952"
    yield "heic, 134 megapixels of one tile", grid(30, 31, 11_520, 11_904, side=384).file(), _BOMB
    padded = grid(30, 31, 11_520, 11_904, side=384).file() + box(b"free", bytes(8 * 2**20))
    yield "heic, 134 megapixels of one tile and 8 MB of nothing", padded, _BOMB
    yield "heic, a grid of 62,500 tiles", grid(250, 250, 16_000, 12_000).file(), _CUT
    yield "heic, a grid without its tiles", grid(30, 30, 1920, 1920, tiles=1).file(), _CUT
    yield "heic, a grid of no tiles", grid(4, 4, 256, 256, tiles=0).file(), _CUT
    yield "heic, a grid larger than its tiles", grid(2, 2, 14_000, 14_000).file(), _BOMB
    yield "heic, a grid somewhat larger than its tiles", grid(2, 2, 1_000, 1_000).file(), _CUT
    yield "heic, a grid smaller than its tiles", grid(4, 4, 1, 1).file(), "1x1"
    shown = grid(30, 30, 1920, 1920, tiles=1)
    shown = replace(shown, items={**shown.items, 2: Item()})
    yield "heic, another picture in place of a broken one", shown.file(), _CUT
    yield "heic, a grid of 0 x 0", grid(2, 2, 0, 0).file(), _CUT
    yield "heic, a grid cut off", replace_content(grid(2, 2, 128, 128), b"\0\1"), _CUT
    yield "heic, tiles that say 512", grid(30, 30, 14_000, 14_000, said=512).file(), _BOMB


def replace_content(heif: Heif, content: bytes) -> bytes:
    return replace(heif, items={**heif.items, 1: replace(heif.items[1], content=content)}).file()


def _circles() -> Iterator[Hostile]:
    looks = (tile()[0], size(_TILE, _TILE))
    content = struct.pack(">BBBBHH", 0, 0, 1, 1, 128, 128)
    own = Item(b"grid", content, (2,), (1, 1, 1, 1))
    yield "heic, a grid of itself", Heif({1: own}, looks).file(), _CUT
    ring = {1: replace(own, made_of=(2,) * 4), 2: replace(own, made_of=(1,) * 4)}
    yield "heic, two grids of each other", Heif(ring, looks).file(), _CUT
    yield "heic, a copy of itself", Heif({1: Item(b"iden", b"", (2,), (1,))}, looks).file(), _CUT
    chain = {number: Item(b"iden", b"", (2,), (number + 1,)) for number in range(1, 900)}
    yield "heic, a copy of a copy, 900 times", Heif({**chain, 900: Item()}, looks).file(), "64x64"
    overlay = struct.pack(">BBHHHHHH", 0, 0, 0, 0, 0, 0, 64, 64)
    yield "heic, an overlay of itself", Heif({1: Item(b"iovl", overlay + bytes(4), (2,), (1,))}, looks).file(), _CUT
    doubled = {number: replace(own, made_of=(number + 1,) * 4) for number in range(1, 40)}
    yield "heic, grids of grids, 4**39 tiles", Heif({**doubled, 40: Item()}, looks).file(), _CUT
    nothing = Item(b"grid", content, (2,), (77,) * 4)
    yield "heic, a grid of what is not there", Heif({1: nothing}, looks).file(), _CUT
    yield "heic, a picture that is not there", Heif({1: Item()}, looks, primary=9).file(), _CUT


def _properties() -> Iterator[Hostile]:
    def looks(*more: bytes, properties: Sequence[int] | None = None) -> bytes:
        known = (tile()[0], size(_TILE, _TILE), *more)
        return Heif({1: Item(properties=properties or range(1, len(known) + 1))}, known).file()

    turn = box(b"irot", b"\1")
    yield "heic, turned 101 times", looks(turn, properties=(1, 2, *(3,) * 101)), "64x64"
    yield "heic, a turn of five quarters", looks(box(b"irot", b"\x05")), "64x64"
    yield "heic, cut by nothing", looks(box(b"clap", struct.pack(">8I", *(0,) * 8))), _CUT
    far = struct.pack(">8I", *(2**31 - 1, 1) * 4)
    yield "heic, cut far outside", looks(box(b"clap", far)), _BOMB
    yield "heic, a property that is not there", looks(properties=(1, 2, 99)), _CUT
    yield "heic, no properties", looks(properties=(0,)), _CUT
    yield (
        "heic, a decoder's setting of noise",
        Heif({1: Item()}, (box(b"hvcC", b"\xa5" * 99), size(_TILE, _TILE))).file(),
        _CUT,
    )
    yield "heic, 20,000 properties", looks(turn * 20_000, properties=(1, 2)), _CUT
    yield "heic, 8 MB of colour profile", looks(box(b"colr", b"prof", bytes(8 * 2**20))), "64x64"
    yield "heic, a depth of 255 bits", looks(full(b"pixi", 0, 0, b"\3\xff\xff\xff")), "64x64"


def _kinds() -> Iterator[Hostile]:
    """Unusual, and right."""
    yield "heic in grey", photo("HEIF", "L"), "176x132"
    yield "heic, transparent", photo("HEIF", "RGBA"), "176x132"
    yield "heic of one pixel", photo("HEIF", size=(1, 1)), "1x1"
    several = photo("HEIF", save_all=True, append_images=[Image.new("RGB", (64, 64))] * 20)
    yield "heic, 21 pictures", several, "176x132"
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "heic, turned", photo("HEIF", exif=exif.tobytes()), "132x176"
