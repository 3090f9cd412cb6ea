"""Photos by the hundred: small, each of its own bytes."""

from pathlib import Path

from PIL import Image


def write_photos(folder: Path, count: int, *, first: int = 0) -> list[Path]:
    """JPEGs of 96 × 64 pixels in ten folders below, from number `first` on."""
    paths = []
    for number in range(first, first + count):
        path = folder / f"roll {number % 10}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = (number % 256, number // 256 % 256, 128)
        Image.new("RGB", (96, 64), colour).save(path, comment=f"photo {number}".encode())
        paths.append(path)
    return paths
