"""The sample photos: their formats, their EXIF, always the same."""

from pathlib import Path

import pillow_heif
import pytest
from PIL import ExifTags, Image, ImageOps

from sandbox.samples import write_samples

pillow_heif.register_heif_opener()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One more than a dozen."""
    return write_samples(tmp_path_factory.mktemp("samples"), 13)


def test_a_dozen_photos_in_four_formats(samples: list[Path]) -> None:
    formats = []
    for path in samples[:12]:
        with Image.open(path) as photo:
            formats.append(photo.format)
    assert sorted(formats) == ["HEIF", *["JPEG"] * 9, "PNG", "WEBP"]


def test_every_photo_is_of_the_promised_size_upright(samples: list[Path]) -> None:
    for path in samples:
        with Image.open(path) as photo:
            assert ImageOps.exif_transpose(photo).size in ((1600, 1200), (1200, 1600)), path


def test_one_photo_lies_on_its_side(samples: list[Path]) -> None:
    with Image.open(samples[2]) as photo:
        assert photo.getexif()[ExifTags.Base.Orientation] == 6
        assert photo.size == (1600, 1200)


def test_some_photos_know_when_and_where(samples: list[Path]) -> None:
    with Image.open(samples[0]) as photo:
        exif = photo.getexif()
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] == "2026:05:14 18:05:00"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (46.0, 33.0, 28.8)


def test_the_same_bytes_every_time(samples: list[Path], tmp_path: Path) -> None:
    again = write_samples(tmp_path / "new" / "folder", 3)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in samples[:3]]


def test_beyond_a_dozen_names_and_pictures_differ(samples: list[Path]) -> None:
    assert samples[12].name == "IMG_0412-2.jpg"
    assert len({path.read_bytes() for path in samples}) == 13
