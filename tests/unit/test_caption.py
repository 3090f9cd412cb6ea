"""The words that the simulated Phota writes into a picture."""

from PIL import Image, ImageChops

from sandbox.phota.caption import caption


def test_a_word_as_long_as_a_book_is_cut_at_once() -> None:
    assert ImageChops.difference(_caption("a" * 2_000_000), _caption("a" * 500)).getbbox() is None


def _caption(text: str) -> Image.Image:
    return caption(Image.new("RGB", (600, 400), "white"), text, note="a note")
