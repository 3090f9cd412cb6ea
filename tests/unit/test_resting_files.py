"""Whole files told from those that are still being written, by a clock of the test's own."""

import os
from pathlib import Path

from producer.uploads.resting_files import RestingFiles, tags_below


def test_a_file_rests_when_it_has_not_changed_for_long_enough() -> None:
    files = RestingFiles(settle_s=2)
    assert files.note({"1.jpg": "10:1"}, 0.0) == []
    assert files.note({"1.jpg": "20:2"}, 1.9) == []
    assert files.note({"1.jpg": "20:2"}, 3.8) == []
    assert files.note({"1.jpg": "20:2"}, 3.9) == ["1.jpg"]


def test_what_was_dealt_with_rests_until_it_changes() -> None:
    files = RestingFiles(settle_s=2)
    files.note({"1.jpg": "a"}, 0)
    files.done("1.jpg")
    assert files.note({"1.jpg": "a"}, 10) == []
    files.note({"1.jpg": "b"}, 11)
    assert files.note({"1.jpg": "b"}, 13) == ["1.jpg"]


def test_a_file_that_is_gone_is_forgotten() -> None:
    files = RestingFiles(settle_s=2)
    files.note({"1.jpg": "a", "2.jpg": "a"}, 0)
    files.done("2.jpg")
    assert files.note({}, 5) == []
    assert files.note({"1.jpg": "a", "2.jpg": "a"}, 6) == []
    assert files.note({"1.jpg": "a", "2.jpg": "a"}, 8) == ["1.jpg", "2.jpg"]


def test_what_is_no_picture_yet_is_waited_for_and_then_given_up() -> None:
    files = RestingFiles(settle_s=2)
    files.note({"1.jpg": "a"}, 0)
    looks = [now for now in range(2, 30) if files.note({"1.jpg": "a"}, now) and not files.is_given_up("1.jpg", now)]
    assert looks == [2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert files.is_given_up("1.jpg", 20)


def test_only_photos_that_could_be_whole_are_seen(tmp_path: Path) -> None:
    names = ["1.jpg", "a/2.HEIC", ".hidden.jpg", ".git/3.jpg", "4.jpg.part", "5.jpg.crdownload", "~6.jpg", "7.jpg~"]
    for name in [*names, "out/8.jpg"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    os.utime(tmp_path / "1.jpg", ns=(7, 7))
    found = dict(tags_below(tmp_path, leave_out=tmp_path / "out"))
    assert sorted(found) == ["1.jpg", "a/2.HEIC"]
    assert found["1.jpg"] == "5:7"
