"""Names of stored objects: clean, bounded, and never two outputs at one key."""

import unicodedata
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from clients.storage import DEFAULT_TEMPLATE, S3Uri, output_key, validate_template

PLAIN: dict[str, Any] = {
    "batch": "trip",
    "custom_id": "a/1.jpg",
    "job_id": "0190",
    "index": 0,
    "ext": "jpg",
    "operation": "enhance",
}


def key(template: str = DEFAULT_TEMPLATE, **changes: Any) -> str:
    return output_key(template, **{**PLAIN, **changes})


def test_an_ordinary_name_is_left_alone() -> None:
    assert key() == "trip/a/1.jpg-0.jpg"
    assert key(prefix="done/2026/") == "done/2026/trip/a/1.jpg-0.jpg"
    assert key("{operation}/{job_id}/{index}", custom_id="../x") == "enhance/0190/0"
    assert key(custom_id="Zoë ☀ 100%?.jpg") == "trip/Zoë ☀ 100%?.jpg-0.jpg"


@pytest.mark.parametrize(
    ("custom_id", "begins"),
    [
        ("../../etc/passwd", "trip/etc/passwd-0~"),
        ("/abs//olute", "trip/abs/olute-0~"),
        ("a/./b", "trip/a/b-0~"),
        ("line\nfeed", "trip/line_feed-0~"),
        ("half\ud800", "trip/half_-0~"),
        ("x" * 512, "trip/" + "x" * 200),
        ("ü/" * 256 + "é" * 400, "trip/ü/ü/"),
    ],
)
def test_an_odd_name_is_cleaned_and_marked(custom_id: str, begins: str) -> None:
    name = key(custom_id=custom_id)
    assert name.startswith(begins)
    assert name.endswith(".jpg")
    assert "~" in name


def test_a_batch_with_a_slash_is_not_another_batchs_folder() -> None:
    assert key(batch="a/b", custom_id="c") != key(batch="a", custom_id="b/c")


def test_what_looks_hashed_is_hashed() -> None:
    odd = key(custom_id="a//b")
    assert key(custom_id=odd.removeprefix("trip/").removesuffix(".jpg")) != odd
    assert key("{custom_id}/{index}.{ext}", custom_id=odd.removesuffix(".jpg")).count("~") == 2


letters = st.one_of(st.sampled_from("ab-_./~0123\\\n\0é"), st.characters())
texts = st.text(letters, max_size=40) | st.text(letters, min_size=200, max_size=512)
outputs = st.tuples(texts, texts, st.integers(0, 3))
templates = st.sampled_from([DEFAULT_TEMPLATE, "{custom_id}/{batch}.{index}.{ext}", "{index}-{batch}/{custom_id}"])


@settings(max_examples=300, deadline=None)
@given(templates, outputs, outputs)
@example(DEFAULT_TEMPLATE, ("a/b", "c", 0), ("a", "b/c", 0))
@example(DEFAULT_TEMPLATE, ("", "a", 0), ("a", "", 0))
@example(DEFAULT_TEMPLATE, ("a", "b-0", 1), ("a", "b", 0))
@example(DEFAULT_TEMPLATE, ("a", "x" * 300, 0), ("a", "x" * 301, 0))
def test_different_outputs_get_different_clean_keys(template: str, one: Any, other: Any) -> None:
    assume(one != other)
    keys = [key(template, batch=batch, custom_id=name, index=index, prefix="p") for batch, name, index in (one, other)]
    assert keys[0] != keys[1]
    for each in keys:
        assert len(each.encode()) <= 1024
        assert not [part for part in each.split("/") if part in ("", ".", "..") or len(part.encode()) > 255]
        assert not [letter for letter in each if unicodedata.category(letter) in ("Cc", "Cs")]


@given(outputs)
def test_a_key_is_the_same_for_ever(output: Any) -> None:
    batch, name, index = output
    assert key(batch=batch, custom_id=name, index=index) == key(batch=batch, custom_id=name, index=index)


def test_a_prefix_must_leave_room() -> None:
    assert len(key(prefix="p/" * 500, custom_id="x" * 300).encode()) <= 1024
    with pytest.raises(ValueError, match="leaves no room"):
        key(prefix="p/" * 511)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{custom_id}.{ext}", "needs {index}"),
        ("{batch}/{index}.{ext}", "needs {custom_id} or {job_id}"),
        ("{custom_id}{index}", "put a - before and after {index}"),
        ("{custom_id}-1{index}", "put a - before and after {index}"),
        ("{batch}-{custom_id}-{index}", "put a / between"),
        ("/{custom_id}-{index}", "absolute"),
        ("../{custom_id}-{index}", "absolute"),
        ("{custom_id}//{index}", "empty"),
        ("{custom_id}\n-{index}", "control"),
        ("{name}-{index}", "{name} is not one of"),
        ("{custom_id.__class__}-{index}", "is not one of"),
        ("{custom_id!r}-{index}", "is not one of"),
        ("{custom_id:>99999999}-{index}", "is not one of"),
        ("{}-{index}", "{} is not one of"),
        ("{custom_id-{index}", "malformed"),
        ("", "empty"),
    ],
)
def test_a_template_that_could_mix_up_outputs_is_refused(template: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        validate_template(template)
    assert reason in str(caught.value)


def test_an_s3_uri_is_taken_apart() -> None:
    assert S3Uri.parse("s3://photos/in/a b?.jpg") == S3Uri("photos", "in/a b?.jpg")
    assert str(S3Uri.parse("s3://photos")) == "s3://photos/"
    for text in (
        "photos/a",
        "S3://photos/a",
        "s3://",
        "s3:///a",
        "s3://a b/c",
        "s3://photos/\n",
        "s3://photos/" + "x" * 1025,
    ):
        with pytest.raises(ValueError):
            S3Uri.parse(text)
