"""Changes of SeaweedFS's filer: which of them are uploads."""

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest

from producer.uploads.s3_events import UploadEvent, parse_events
from tests.unit.s3_event_samples import SEAWEED_FOLDER, seaweed, seaweed_entry

NAME = "my photo (1)+ü%25😀.jpg"
VERSION = "67156aa8d7783dbd79cfbab78541f7a3"


def overwritten(**attributes: Any) -> dict[str, Any]:
    entry = seaweed_entry()
    entry["attributes"] |= attributes
    return entry


def test_an_upload_is_read_whole() -> None:
    assert parse_events(seaweed(seaweed_entry())) == [
        UploadEvent(
            bucket="photos",
            key=f"in/{NAME}",
            etag="4e8403e9463e59ea5939a33d1245a66c",
            version_id=None,
            sequencer=None,
            bytes=500,
            at=datetime(2026, 11, 23, 5, 26, 30, tzinfo=UTC),
        )
    ]


@pytest.mark.parametrize(
    "entry",
    [
        overwritten(mtime=1795411591),
        overwritten(md5="TuT/ltOrSrRplwhxpyGtGw=="),
        overwritten(file_size=501),
        seaweed_entry() | {"chunks": [seaweed_entry()["chunks"][0] | {"modified_ts_ns": 1795411590185032782}]},
        seaweed_entry() | {"chunks": [], "content": "aGVsbG8="},
    ],
)
def test_what_is_written_over_is_an_upload(entry: dict[str, Any]) -> None:
    assert len(parse_events(seaweed(entry, seaweed_entry()))) == 1


@pytest.mark.parametrize(
    "entry",
    [
        seaweed_entry(),
        seaweed_entry(Acl="[]"),
        seaweed_entry(Noncurrent_Since_Ns="1795411607552878891"),
        seaweed_entry() | {"chunks": [seaweed_entry()["chunks"][0] | {"fid": {"volume_id": 9}}]},
    ],
)
def test_tags_rights_and_moved_chunks_are_no_upload(entry: dict[str, Any]) -> None:
    assert parse_events(seaweed(entry, seaweed_entry())) == []


def test_what_is_moved_is_an_upload_where_it_arrives() -> None:
    moved = seaweed(seaweed_entry("b.jpg"), seaweed_entry("a.part"), key="/buckets/photos/in/a.part")
    assert [event.key for event in parse_events(moved)] == ["in/b.jpg"]
    away = seaweed(seaweed_entry("a.jpg"), seaweed_entry("a.jpg"), parent="/trash", key="/buckets/photos/in/a.jpg")
    assert parse_events(away) == []


def test_a_version_belongs_to_its_object() -> None:
    entry = seaweed_entry(f"v_{VERSION}", Version_Id=VERSION)
    (event,) = parse_events(seaweed(entry, parent="/buckets/photos/in/a.jpg.versions"))
    assert (event.key, event.version_id) == ("in/a.jpg", VERSION)


def test_a_folder_may_be_called_as_versions_are() -> None:
    (event,) = parse_events(seaweed(seaweed_entry("v_1"), parent="/buckets/photos/in/a.jpg.versions"))
    assert event.key == "in/a.jpg.versions/v_1"


def test_a_suspended_bucket_has_no_version() -> None:
    (event,) = parse_events(seaweed(seaweed_entry(Version_Id="null")))
    assert (event.key, event.version_id) == (f"in/{NAME}", None)


@pytest.mark.parametrize(
    "document",
    [
        SEAWEED_FOLDER,
        seaweed(None, seaweed_entry()),
        seaweed(seaweed_entry() | {"is_directory": True}, parent="/buckets/photos/in"),
        seaweed(seaweed_entry("0001_296f12df.part"), parent="/buckets/photos/.uploads/da0d958e"),
        seaweed(seaweed_entry("photos"), parent="/buckets/.system/owners/admin"),
        seaweed(seaweed_entry("photos"), parent="/buckets"),
        seaweed(seaweed_entry("a.jpg"), parent="/elsewhere"),
        seaweed(
            seaweed_entry(f"v_{VERSION}", Version_Id=VERSION, Delete_Marker="true"),
            parent="/buckets/photos/in/a.jpg.versions",
        ),
    ],
)
def test_what_is_no_upload_is_passed_over(document: dict[str, Any]) -> None:
    assert parse_events(document) == []


def test_the_digest_stands_in_for_an_etag() -> None:
    entry = seaweed_entry()
    del entry["extended"]
    assert parse_events(seaweed(entry))[0].etag == "4e8403e9463e59ea5939a33d1245a66c"
    del entry["attributes"]["md5"]
    assert parse_events(seaweed(entry))[0].etag is None


def test_an_empty_object_has_no_bytes() -> None:
    entry = seaweed_entry()
    del entry["attributes"]["file_size"]
    assert parse_events(seaweed(entry))[0].bytes == 0


@pytest.mark.parametrize("mtime", [None, "1", 1.5, True, 10**30])
def test_a_moment_that_is_none_is_nothing(mtime: Any) -> None:
    assert parse_events(seaweed(overwritten(mtime=mtime)))[0].at is None


def test_an_etag_is_base64_of_text() -> None:
    entry = seaweed_entry()
    entry["extended"]["Seaweed-X-Amz-ETag"] = b64encode(b'"DA316B680D9B78DD2E5CCCAAFA4A37EE-2"').decode()
    assert parse_events(seaweed(entry))[0].etag == "da316b680d9b78dd2e5cccaafa4a37ee-2"
