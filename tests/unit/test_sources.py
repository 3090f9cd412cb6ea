"""Pictures found in folders and lists of names, and what they are called."""

import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pytest

from producer.sources.folder_tree import photos_below
from producer.sources.photos import LONGEST_ID, Address, NoSuchSource, Photo, find_pictures
from producer.sources.pictures import fitting_id
from producer.sources.selection import Selection


def tree(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def names(*sources: Path | str, **options: Any) -> list[str]:
    return [picture.custom_id for picture in find_pictures([str(source) for source in sources], **options)]


def test_a_folder_is_gone_through_in_order_and_photos_are_named_below_it(tmp_path: Path) -> None:
    tree(tmp_path, "b/2.JPG", "b/1.heic", "a/x/1.png", "c.jpeg", "a.txt", "b.jpg/1.webp", "jpg")
    assert names(tmp_path) == ["c.jpeg", "a/x/1.png", "b/1.heic", "b/2.JPG", "b.jpg/1.webp"]
    paths = [picture.path for picture in find_pictures([str(tmp_path)]) if isinstance(picture, Photo)]
    assert paths[0] == tmp_path / "c.jpeg"


def test_hidden_files_and_where_results_go_are_passed_over(tmp_path: Path) -> None:
    tree(tmp_path, "1.jpg", ".2.jpg", ".trash/3.jpg", "out/4.jpg", "a/out/5.jpg")
    assert names(tmp_path, leave_out=tmp_path / "a" / ".." / "out") == ["1.jpg", "a/out/5.jpg"]


def test_results_that_appear_on_the_way_are_passed_over_too(tmp_path: Path) -> None:
    found = find_pictures([str(tree(tmp_path, "1.jpg"))], leave_out=tmp_path / "out")
    tree(tmp_path, "out/2.jpg")
    assert [picture.custom_id for picture in found] == ["1.jpg"]


def test_links_to_files_are_photos_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    tree(tmp_path, "photos/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "folder.jpg").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "2.jpg").symlink_to(tmp_path / "elsewhere" / "2.jpg")
    (tmp_path / "photos" / "3.jpg").symlink_to("nowhere")
    (tmp_path / "photos" / "4.jpg").symlink_to("4.jpg")
    os.mkfifo(tmp_path / "photos" / "5.jpg")
    assert names(tmp_path / "photos") == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]


def test_only_what_is_selected_is_taken(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.jpg", "a/2.png", "b/3.jpg", "4.jpg")
    assert names(tmp_path, selection=Selection(["/a/*.jpg", "4.jpg"], [])) == ["4.jpg", "a/1.jpg"]
    assert names(tmp_path, selection=Selection([], ["a/", "4.*"])) == ["b/3.jpg"]
    assert names(tmp_path / "4.jpg", tmp_path / "a/2.png", selection=Selection([], ["*.png"])) == ["4.jpg"]


def test_a_folder_of_more_names_than_a_run_is_whole(tmp_path: Path) -> None:
    expected = [f"{number:02}.jpg" for number in range(9)] + [f"{number:02}/1.jpg" for number in range(4)]
    tree(tmp_path, *expected)
    found = list(photos_below(tmp_path, run=4))
    assert sorted(found) == sorted(expected)
    assert len(found) == len(expected)


def test_no_folder_stays_open_on_the_way_down(tmp_path: Path) -> None:
    deep = "/".join("d" * 200)
    tree(tmp_path, "1.jpg", f"{deep}/2.jpg")
    found = find_pictures([str(tmp_path)])
    before = psutil.Process().num_fds()
    assert next(found).custom_id == "1.jpg"
    assert next(found).custom_id == f"{deep}/2.jpg"
    assert psutil.Process().num_fds() == before


def test_a_folder_that_cannot_be_read_is_passed_over_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = find_pictures([str(tree(tmp_path, "1.jpg", "gone/2.jpg", "later/3.jpg"))])
    assert next(found).custom_id == "1.jpg"
    shutil.rmtree(tmp_path / "gone")
    assert [picture.custom_id for picture in found] == ["later/3.jpg"]
    assert f"folder passed over, it cannot be read: {tmp_path / 'gone'}" in caplog.text


def test_several_trees_are_told_apart_by_their_names(tmp_path: Path) -> None:
    tree(tmp_path, "x/trip/1.jpg", "y/trip/1.jpg", "y/trip-2/1.jpg", "y/1.jpg")
    trips = [tmp_path / "x" / "trip", tmp_path / "y" / "trip", tmp_path / "y" / "trip-2"]
    assert names(*trips) == ["trip/1.jpg", "trip-2/1.jpg", "trip-2-2/1.jpg"]
    assert names(trips[0], trips[0], "https://example.com/1.jpg") == ["1.jpg", "https://example.com/1.jpg"]
    assert names(trips[0], tmp_path / "y" / "1.jpg") == ["trip/1.jpg", "1.jpg"]


def test_a_second_file_of_a_name_gets_its_folder_in_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "x/1.jpg", "y/1.jpg", "z/1.jpg", "note.txt")
    monkeypatch.chdir(tmp_path)
    assert names("x/1.jpg", "y/1.jpg", "./y/1.jpg", "note.txt") == ["1.jpg", "y/1.jpg", "note.txt"]
    assert names("z", "x/1.jpg", "z/1.jpg") == ["z/1.jpg", "1.jpg", "1.jpg-2"]


def test_addresses_are_taken_as_they_are() -> None:
    sources = ["https://example.com/1.jpg", "s3://photos/1.jpg", "https://example.com/1.jpg"]
    assert list(find_pictures(sources)) == [Address(source) for source in sources[:2]]


def test_what_is_missing_is_told_before_the_first_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NoSuchSource, match="nowhere: no such file or folder"):
        find_pictures([str(tmp_path), str(tmp_path / "nowhere")])
    with pytest.raises(NoSuchSource, match="pipe: neither a file nor a folder"):
        find_pictures([str(tmp_path / "pipe")])


def test_names_that_had_to_be_cleaned_or_cut_stay_apart() -> None:
    raw = ["a\nb.jpg", "a\tb.jpg", "a_b.jpg", "../a.jpg", "a.jpg", os.fsdecode(b"\xff.jpg"), os.fsdecode(b"\xfe.jpg")]
    raw += ["x" * LONGEST_ID, "x" * (LONGEST_ID + 1), "x" * (LONGEST_ID + 2)]
    found = [fitting_id(name) for name in raw]
    assert len(set(found)) == len(raw)
    assert all(name.isprintable() and len(name) <= LONGEST_ID for name in found)
    assert found[2] == "a_b.jpg"


def listed(lines: Iterable[str], *sources: Path, **options: Any) -> list[str]:
    return names(*sources, files_from=lines, **options)


def test_lines_name_files_below_the_folder_as_rclone_reads_them(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.jpg", "2.txt", "3.jpg")
    lines = ["\ufeff# mine\n", "; too\n", "\n", "  a/1.jpg \r\n", "/2.txt\n", "./3.jpg", "https://example.com/4.jpg"]
    assert listed(lines, tmp_path) == ["a/1.jpg", "2.txt", "3.jpg", "https://example.com/4.jpg"]
    found = list(find_pictures([str(tmp_path)], files_from=lines))
    assert found[0] == Photo(tmp_path / "a" / "1.jpg", "a/1.jpg")
    assert listed(lines, tmp_path, selection=Selection(["a/"], [])) == ["a/1.jpg"]


def test_lines_without_a_folder_are_paths_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "a/1.jpg")
    monkeypatch.chdir(tmp_path)
    assert listed(["a/1.jpg", "s3://photos/2.jpg"]) == ["a/1.jpg", "s3://photos/2.jpg"]
    path = str(tmp_path / "a" / "1.jpg")
    assert list(find_pictures([], files_from=[path])) == [Photo(Path(path), path.lstrip("/"))]


@pytest.mark.parametrize("line", ["b.jpg", "a", "a\0.jpg", "a/1.jpg/2.jpg", "s3://", "s3://photos"])
def test_a_line_that_names_nothing_is_told_with_its_number(tmp_path: Path, line: str) -> None:
    found = find_pictures([str(tree(tmp_path, "a/1.jpg"))], files_from=["a/1.jpg", "# comment", line])
    assert next(found).custom_id == "a/1.jpg"
    with pytest.raises(NoSuchSource, match=r"^line 3: "):
        next(found)


def test_lines_stand_below_one_folder(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.jpg", "b/1.jpg")
    with pytest.raises(NoSuchSource, match="below one folder, not 2"):
        listed(["1.jpg"], tmp_path / "a", tmp_path / "b")
    with pytest.raises(NoSuchSource, match="is not a folder"):
        listed(["1.jpg"], tmp_path / "a" / "1.jpg")


def test_lines_are_read_as_pictures_are_asked_for(tmp_path: Path) -> None:
    read = 0

    def lines() -> Iterator[str]:
        nonlocal read
        for read in range(1, 10_001):  # noqa: B007
            yield "https://example.com/1.jpg"

    assert len(list(islice(find_pictures([], files_from=lines()), 300))) == 300
    assert 300 <= read < 1_000
