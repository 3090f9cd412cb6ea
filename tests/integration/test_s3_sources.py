"""Pictures found in a real bucket."""

import hashlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from clients.s3_uri import S3Uri
from clients.storage import Storage
from producer.sources.photos import Address, NoSuchSource, StoredObject, find_pictures
from producer.sources.selection import Selection
from sandbox.stack import Stack

BUCKET = "photabatch"


@pytest.fixture
def storage(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    services = stack.environment()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, services[name])
    storage = Storage(endpoint_url=services["PHOTABATCH_S3_ENDPOINT_URL"])
    yield storage
    storage.close()


@pytest.fixture
def folder() -> str:
    """A prefix of this test's own, without a slash behind."""
    return f"test-{uuid.uuid4()}"


def put(storage: Storage, *keys: str, data: bytes = b"bytes", bucket: str = BUCKET) -> None:
    sha256 = hashlib.sha256(data).hexdigest()
    for key in keys:
        storage.put(bucket, key, data, content_type="image/jpeg", sha256_hex=sha256)


def found(storage: Storage, *sources: str, **options: Any) -> list[tuple[str, str]]:
    """Keys and custom_ids."""
    pictures = find_pictures(sources, storage=storage, **options)
    return [(each.uri.key, each.custom_id) for each in pictures if isinstance(each, StoredObject)]


def names(storage: Storage, *sources: str, **options: Any) -> list[str]:
    return [custom_id for _, custom_id in found(storage, *sources, **options)]


def test_pictures_below_a_prefix_are_listed_with_what_the_listing_tells(storage: Storage, folder: str) -> None:
    put(storage, f"{folder}/in/ü 1+b.JPG", f"{folder}/in/a/2.png", f"{folder}/other/3.jpg")
    [first, second] = find_pictures([f"s3://{BUCKET}/{folder}/in/"], storage=storage)
    etag = hashlib.md5(b"bytes").hexdigest()
    assert first == StoredObject(S3Uri(BUCKET, f"{folder}/in/a/2.png"), etag, 5, "a/2.png")
    assert second == StoredObject(S3Uri(BUCKET, f"{folder}/in/ü 1+b.JPG"), etag, 5, "ü 1+b.JPG")


def test_what_is_no_picture_is_passed_over(storage: Storage, folder: str) -> None:
    put(
        storage,
        f"{folder}/1.jpg",
        f"{folder}/1.txt",
        f"{folder}/.hidden.jpg",
        f"{folder}/.trash/2.jpg",
        f"{folder}/a/.b/3.jpg",
    )
    put(storage, f"{folder}/folder.jpg/", f"{folder}/empty/", data=b"")
    assert names(storage, f"s3://{BUCKET}/{folder}/") == ["1.jpg"]


def test_part_of_a_name_is_a_prefix_and_names_begin_behind_its_last_slash(storage: Storage, folder: str) -> None:
    put(storage, f"{folder}/trip-1/1.jpg", f"{folder}/trip-2/1.jpg", f"{folder}/other/1.jpg")
    assert names(storage, f"s3://{BUCKET}/{folder}/trip") == ["trip-1/1.jpg", "trip-2/1.jpg"]
    assert names(storage, f"s3://{BUCKET}/{folder}") == [
        f"{folder}/{name}/1.jpg" for name in ("other", "trip-1", "trip-2")
    ]


def test_a_bucket_alone_means_everything_in_it(storage: Storage, folder: str) -> None:
    storage.ensure_bucket(folder)
    put(storage, "1.jpg", "a/2.jpg", bucket=folder)
    assert names(storage, f"s3://{folder}") == names(storage, f"s3://{folder}/") == ["1.jpg", "a/2.jpg"]


def test_a_key_that_is_there_is_one_object_whatever_it_is_called(storage: Storage, folder: str) -> None:
    put(storage, f"{folder}/1.jpg", f"{folder}/1.jpg.bak/2.jpg", f"{folder}/photo", f"{folder}/b/1.jpg")
    sources = [f"s3://{BUCKET}/{folder}/{name}" for name in ("1.jpg", "photo", "b/1.jpg")]
    [first, *_] = find_pictures(sources, storage=storage)
    assert first == StoredObject(S3Uri(BUCKET, f"{folder}/1.jpg"), hashlib.md5(b"bytes").hexdigest(), 5, "1.jpg")
    assert names(storage, *sources) == ["1.jpg", "photo", f"{folder}/b/1.jpg"]


def test_several_prefixes_are_told_apart_by_their_names(storage: Storage, folder: str) -> None:
    put(storage, f"{folder}/x/in/1.jpg", f"{folder}/y/in/1.jpg", f"{folder}/2.jpg")
    prefixes = [f"s3://{BUCKET}/{folder}/{name}/in/" for name in "xy"]
    assert names(storage, *prefixes) == ["in/1.jpg", "in-2/1.jpg"]
    assert names(storage, prefixes[0], f"s3://{BUCKET}/{folder}/2.jpg") == ["in/1.jpg", "2.jpg"]


def test_only_what_is_selected_of_a_bucket_is_taken(storage: Storage, folder: str) -> None:
    put(storage, f"{folder}/a/1.jpg", f"{folder}/a/2.png", f"{folder}/b/3.jpg")
    selection = Selection(["/a/*.jpg", "/b/"], ["3.*"])
    assert names(storage, f"s3://{BUCKET}/{folder}/", selection=selection) == ["a/1.jpg"]


def test_nothing_below_a_prefix_is_nothing_and_no_bucket_is_a_fault(storage: Storage, folder: str) -> None:
    assert names(storage, f"s3://{BUCKET}/{folder}/") == []
    for source in (f"s3://{folder}", f"s3://{folder}/in/", f"s3://{folder}/1.jpg"):
        with pytest.raises(NoSuchSource, match="no such bucket"):
            find_pictures([source], storage=storage)
    with pytest.raises(NoSuchSource, match="has no valid bucket name"):
        find_pictures(["s3:///1.jpg"], storage=storage)


def test_lines_name_objects_that_are_asked_for(storage: Storage, folder: str) -> None:
    put(storage, *(f"{folder}/{number:03}.jpg" for number in range(40)))
    lines = [f"s3://{BUCKET}/{folder}/{number:03}.jpg" for number in range(40)]
    assert names(storage, files_from=["# all", *lines]) == lines
    assert names(storage, files_from=lines, selection=Selection([], ["00?.jpg"])) == lines[10:]
    pictures = find_pictures([], files_from=["https://example.com/1.jpg", *lines], storage=storage)
    assert next(pictures) == Address("https://example.com/1.jpg")


def test_lines_name_objects_below_a_prefix(storage: Storage, folder: str) -> None:
    put(storage, f"{folder}/a/1.jpg", f"{folder}/2.jpg")
    expected = [(f"{folder}/a/1.jpg", "a/1.jpg"), (f"{folder}/2.jpg", "2.jpg")]
    for prefix in (f"s3://{BUCKET}/{folder}", f"s3://{BUCKET}/{folder}/"):
        assert found(storage, prefix, files_from=["a/1.jpg", "/2.jpg"]) == expected


def test_a_line_that_names_no_object_is_told_with_its_number(storage: Storage, folder: str) -> None:
    put(storage, f"{folder}/1.jpg")
    pictures = find_pictures([], files_from=[f"s3://{BUCKET}/{folder}/{name}.jpg" for name in "12"], storage=storage)
    assert next(pictures).custom_id.endswith("1.jpg")
    with pytest.raises(NoSuchSource, match=r"^line 2: s3://.*/2.jpg: no such object"):
        next(pictures)
