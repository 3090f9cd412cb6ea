"""Patterns as rclone's documentation writes them, and what of a tree need not be looked at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.sources.selection import Selection

pieces = st.sampled_from(
    ["a", "b", "/", "*", "**", "?", "[!a]", "{a,b}", "{a/b,b}", "{b**,a}", "/a", "a/", "a/*", "/b/**"]
)
patterns = st.lists(pieces, min_size=1, max_size=6).map("".join).filter(lambda text: "***" not in text)
paths = st.lists(st.sampled_from(["a", "b", "ab", "ba.a", "a.b"]), min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("*.jpg", ["file.jpg", "dir/file.jpg"], ["file.png", "dir/file.JPG", "file.jpg/1"]),
        ("/*.jpg", ["file.jpg"], ["dir/file.jpg", "filexjpg"]),
        ("file.jpg", ["file.jpg", "dir/file.jpg"], ["afile.jpg", "dir/afile.jpg"]),
        ("*.{jpg,png}", ["file.jpg", "dir/file.png"], ["file.gif"]),
        ("{a,b{c,d}}.jpg", ["a.jpg", "bd.jpg"], ["b.jpg"]),
        ("dir/**", ["dir/any", "subdir/dir/subsubdir/any"], ["file.png", "adir/any", "dir"]),
        ("dir/*", ["dir/any"], ["dir/sub/any"]),
        ("dir/", ["dir/any", "x/dir/sub/any"], ["dir", "dirt/any"]),
        ("/dir/", ["dir/sub/any"], ["x/dir/any"]),
        ("/", ["any", "dir/any"], []),
        ("*.t?t", ["file.txt", "dir/file.tzt"], ["file.qxt", "file.t/t"]),
        ("*.[a-z]", ["file.a"], ["file.0", "file.A"]),
        ("*.[!a-z]", ["file.0"], ["file.a", "file./"]),
        ("a[^b]c", ["adc"], ["abc", "a/c"]),
        (r"*.\?\*\[", ["file.?*["], ["file.abc"]),
        (r"*.\d\d\d", ["file.012"], ["file.abc", "file.01٣"]),
        ("??[[:alpha:]\\-]*", ["12a", "12-"], ["123"]),
        ("100% (1)+^$|.jpg", ["100% (1)+^$|.jpg"], ["100% (1).jpg"]),
        ("a,b", ["a,b"], ["a", "b"]),
        ("dir/**.jpg", ["a\nb/dir/a\nb/c.jpg"], []),
    ],
)
def test_a_pattern_takes_what_rclones_documentation_says(pattern: str, taken: list[str], left: list[str]) -> None:
    selection = Selection([pattern], [])
    assert [path for path in taken + left if selection.takes(path)] == taken
    other = Selection([], [pattern])
    assert [path for path in taken + left if other.takes(path)] == left


def test_what_is_excluded_is_left_out_even_if_it_is_included() -> None:
    selection = Selection(["*.jpg", "*.png"], ["private/", "*_old.*"])
    assert selection.takes("trip/1.jpg")
    assert selection.takes("2.png")
    assert not selection.takes("3.webp")
    assert not selection.takes("private/trip/1.jpg")
    assert not selection.takes("trip/1_old.png")


def test_folders_that_hold_nothing_are_not_entered() -> None:
    selection = Selection(["/2024/*/raw/*.jpg", "/best/**"], ["tmp/"])
    entered = ["", "2024", "2024/may", "2024/may/raw", "best", "best/a/b"]
    passed_over = ["2023", "2024/may/done", "2024/may/raw/more", "tmp", "best/a/tmp"]
    assert [folder for folder in entered + passed_over if selection.may_hold(folder)] == entered


def test_a_pattern_without_a_slash_in_front_may_match_anywhere() -> None:
    assert Selection(["trip/*.jpg"], []).may_hold("2024/may")
    assert Selection(["/{2023/**,2024}/*.jpg"], []).may_hold("2023/may")
    assert Selection([], ["//"]).may_hold("")
    assert Selection([], ["*.png", "2024/*", "/2024/{**,x}.png"]).may_hold("2024")


@given(include=st.lists(patterns, max_size=2), exclude=st.lists(patterns, max_size=2), path=paths)
def test_no_folder_is_passed_over_that_holds_what_is_taken(include: list[str], exclude: list[str], path: str) -> None:
    selection = Selection(include, exclude)
    parts = path.split("/")
    if selection.takes(path):
        assert all(selection.may_hold("/".join(parts[:depth])) for depth in range(len(parts)))


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "is empty"),
        ("***a", "more than two stars"),
        ("ab]c", r"a \] that nothing opens"),
        ("ab[c", r"a \[ that is never closed"),
        ("a[]b", r"a \[ that is never closed, or nothing between"),
        ("a}b", "a } that nothing opens"),
        ("{a,{b}", "a { that is never closed"),
        ("*.{{jpe?g}}", "a regular expression in {{ }}"),
        ("[z-a]", "bad character range"),
        ("[[:letter:]]", r"no known class \[:letter:\]"),
        (r"a\n", "means nothing"),
        ("a\\", "ends in a backslash"),
    ],
)
def test_a_malformed_pattern_is_named_with_its_fault(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        Selection(["*.jpg"], [pattern])
    assert str(caught.value).startswith(f"pattern {pattern!r}: ")
