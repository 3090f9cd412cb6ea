"""Notifications of uploads, from everybody who sends some."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.uploads.s3_events import InvalidEvent, UploadEvent, is_later, parse_events
from tests.unit.s3_event_samples import (
    AWS_TEST,
    SEAWEED_FOLDER,
    aws,
    ceph,
    event_bridge,
    minio,
    seaweed,
    seaweed_entry,
)

NAMES = [
    "my photo (1).jpg",
    "ü.jpg",
    "u\u0308.jpg",
    "a+b.jpg",
    "100%.jpg",
    "100%25.jpg",
    "😀.jpg",
    "a/b//c.jpg",
    "~*'!.jpg",
]
KEYS = st.text(st.characters(blacklist_categories=["Cc", "Cs"]), min_size=1, max_size=200).filter(
    lambda key: not key.endswith("/")
)
SAMPLES = [aws(), minio(), ceph(), event_bridge(), seaweed(seaweed_entry(), seaweed_entry()), AWS_TEST, SEAWEED_FOLDER]


def only(document: Any) -> UploadEvent:
    (event,) = parse_events(document)
    return event


def as_aws(key: str) -> str:
    """Java's URLEncoder, with bare slashes."""
    return quote_plus(key, safe="/*").replace("~", "%7E")


def as_minio(key: str) -> str:
    """Go's url.QueryEscape."""
    return quote_plus(key, safe="")


def test_a_record_of_aws_is_read_whole() -> None:
    assert only(
        aws(eTag='"D41D8CD98F00B204E9800998ECF8427E"', versionId="096fKKXTRTtl3on89fVO.nfljtsv6qko")
    ) == UploadEvent(
        bucket="photos",
        key="in/my photo (1).jpg",
        etag="d41d8cd98f00b204e9800998ecf8427e",
        version_id="096fKKXTRTtl3on89fVO.nfljtsv6qko",
        sequencer="0055AED6DCD90281E5",
        bytes=1024,
        at=datetime(2026, 5, 1, 12, 0, 0, 123_000, UTC),
    )


def test_event_bridge_says_the_same_in_other_words() -> None:
    event = only(event_bridge())
    assert (event.bucket, event.key, event.bytes) == ("photos", "in/my photo (1).jpg", 5)
    assert (event.etag, event.sequencer) == ("b1946ac92492d2347c6235b4d2611184", "617f08299329d189")
    assert (event.version_id, event.at) == ("IYV3p45BT0ac8hjHg1houSdS1a.Mro8e", datetime(2026, 5, 1, 12, tzinfo=UTC))


def test_minio_encodes_slashes_too() -> None:
    event = only(minio())
    assert (event.key, event.etag) == ("in/my photo (1).jpg", "5fc7298143efe1276d39a3466d4e255f-1")
    assert (event.version_id, event.sequencer) == (None, "17AB5A3C1B2A9E40")


def test_an_empty_object_of_minio_has_no_size() -> None:
    document = minio()
    del document["Records"][0]["s3"]["object"]["size"]
    assert only(document).bytes is None


def test_ceph_has_bare_keys_empty_versions_and_sizes_as_text() -> None:
    event = only(ceph("in/100%25+ü.jpg"))
    assert (event.key, event.version_id, event.bytes) == ("in/100%25+ü.jpg", None, 1024)


def test_a_sequencer_of_ceph_is_the_moment_it_spells() -> None:
    event = only(ceph())
    assert event.at is not None
    assert event.sequencer == "5DD7E6F708D142C7"
    assert int(event.sequencer[:8], 16) == int(event.at.timestamp())
    a_second_later = only(ceph(sequencer="F8E6D75D00000000")).sequencer
    assert is_later(a_second_later or "", event.sequencer)


@pytest.mark.parametrize("key", NAMES)
def test_a_key_comes_out_as_it_went_in(key: str) -> None:
    for document in (aws(as_aws(key)), minio(as_minio(key)), ceph(key), event_bridge(key), seaweed(seaweed_entry(key))):
        assert only(document).key.removeprefix("in/") == key


@given(KEYS)
def test_any_key_comes_out_as_it_went_in(key: str) -> None:
    documents = (aws(as_aws(key)), minio(as_minio(key)), ceph(key), event_bridge(key))
    assert [only(document).key for document in documents] == [key] * 4


@pytest.mark.parametrize(
    "key", ["a b.jpg", "ü+1.jpg", "100%.jpg", "50%zz+.jpg", "%FF.jpg", "a#1+2.jpg", "a[1]+.jpg", "{a}+.jpg", "a|b+c"]
)
def test_a_key_that_nobody_encoded_is_taken_as_it_is(key: str) -> None:
    assert only(aws(key)).key == key


@pytest.mark.parametrize(
    "name",
    ["s3:ObjectCreated:Put", "ObjectCreated:Post", "ObjectCreated:Copy", "s3:ObjectCreated:CompleteMultipartUpload"],
)
def test_every_way_to_write_an_object_counts(name: str) -> None:
    assert len(parse_events(aws(name=name))) == 1


@pytest.mark.parametrize(
    "document",
    [
        AWS_TEST,
        {"Records": []},
        [],
        aws(name="ObjectRemoved:Delete"),
        aws(name="s3:ObjectRemoved:DeleteMarkerCreated"),
        aws(name="ObjectRestore:Completed"),
        aws(name="s3:ObjectTagging:Put"),
        aws(name="Replication:OperationReplicatedAfterThreshold"),
        aws(name="ObjectCreatedElsewhere:Put"),
        minio(name="s3:ObjectCreated:PutTagging"),
        minio(name="s3:ObjectCreated:PutRetention"),
        ceph(name="ObjectSynced:Create"),
        ceph(name="ObjectCreated:Post", eTag=""),
        event_bridge(kind="Object Deleted"),
        event_bridge(kind="Object Tags Added"),
        aws("in/folder/", size=0),
        aws("Icon%0D"),
    ],
)
def test_what_is_no_upload_is_passed_over(document: Any) -> None:
    assert parse_events(document) == []


@pytest.mark.parametrize("version_id", ["null", "", None])
def test_without_versions_there_is_no_version(version_id: str | None) -> None:
    assert only(aws(versionId=version_id)).version_id is None


def test_minio_once_called_every_version_1() -> None:
    assert only(minio(versionId="1")).version_id is None
    assert only(aws(versionId="1")).version_id == "1"


def test_a_list_and_many_records_keep_their_order() -> None:
    both = {"Records": aws("a")["Records"] + aws("gone", name="ObjectRemoved:Delete")["Records"] + aws("b")["Records"]}
    assert [event.key for event in parse_events([both, event_bridge("c"), AWS_TEST, minio("d")])] == [
        "a",
        "b",
        "c",
        "d",
    ]


def test_json_text_is_read_as_well() -> None:
    assert parse_events(json.dumps(aws())) == parse_events(json.dumps(aws()).encode()) == parse_events(aws())


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "not JSON"),
        (b"\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (None, "the event must be an object, and is missing"),
        ([[]], r"\[0\] must be an object, not a list"),
        ({"Records": {}}, "Records must be a list"),
        ({"hello": 1}, "neither Records nor a detail-type"),
        ({"Type": "Notification", "TopicArn": "arn:aws:sns:…", "Message": "{}"}, "SNS envelope"),
        (aws(""), r"Records\[0\]\.key must be a text, and is empty"),
        (aws("a" * 1_025), r"Records\[0\]: its s3:// URI has a key longer than 1024 bytes"),
        (aws("\ud800"), "control characters"),
        (aws(eTag=7), r"Records\[0\]\.eTag must be a short text in one line, not a number"),
        (aws(versionId="a\n"), "versionId must be a short text"),
        (aws(sequencer="0" * 1_025), "sequencer must be a short text"),
        (event_bridge() | {"source": "aws.ec2"}, "source must be aws.s3"),
        (event_bridge() | {"detail": None}, "detail must be an object, and is missing"),
        (seaweed(seaweed_entry()) | {"message": "x"}, "message must be an object"),
    ],
)
def test_what_is_wrong_is_said(document: Any, message: str) -> None:
    with pytest.raises(InvalidEvent, match=message):
        parse_events(document)


@pytest.mark.parametrize("bucket", ["photos/in", "-", "photos?x", "a" * 300, "x y"])
def test_a_bucket_has_a_buckets_name(bucket: str) -> None:
    document = aws()
    document["Records"][0]["s3"]["bucket"]["name"] = bucket
    with pytest.raises(InvalidEvent, match="bucket"):
        parse_events(document)


@pytest.mark.parametrize(("size", "read"), [(0, 0), ("7", 7), (-1, None), (True, None), (1e3, None), (2**63, None)])
def test_a_size_is_a_number_of_bytes_or_nothing(size: Any, read: int | None) -> None:
    assert only(aws(size=size)).bytes == read


@pytest.mark.parametrize("when", [None, "", "soon", 7, "0001-01-01T00:00:00+14:00", "2026-02-30T00:00:00Z"])
def test_a_moment_that_is_none_is_nothing(when: Any) -> None:
    document = aws()
    document["Records"][0]["eventTime"] = when
    assert only(document).at is None


def test_a_sequencer_without_an_order_is_none() -> None:
    assert only(aws(sequencer="latest")).sequencer is None
    assert only(aws(sequencer=None)).sequencer is None


@pytest.mark.parametrize(
    ("a", "b", "later"),
    [
        ("0055AED6DCD90281E5", "0055AED6DCD90281E4", True),
        ("0055AED6DCD90281E5", "0055aed6dcd90281e5", False),
        ("0055aed6dcd90281e5", "0055AED6DCD90281E5", False),
        ("1", "0F", True),
        ("0F", "1", False),
        ("1", "10", False),
        ("10", "1", False),
        ("a", "9F", True),
    ],
)
def test_sequencers_are_filled_on_the_right(a: str, b: str, later: bool) -> None:
    assert is_later(a, b) is later


@pytest.mark.parametrize("wrong", ["", "x", "0x1", "1_0", " 1", "١"])
def test_only_hexadecimal_numbers_are_compared(wrong: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        is_later(wrong, "1")


WORDS = st.sampled_from(sorted({word for sample in SAMPLES for word in str(sample).split("'") if word.isidentifier()}))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A sample with something else somewhere in it."""
    document = json.loads(json.dumps(draw(st.sampled_from(SAMPLES))))
    here: Any = document
    while True:
        where = draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
        if not isinstance(here[where], dict | list) or not here[where] or draw(st.booleans()):
            here[where] = draw(JSON)
            return document
        here = here[where]


@given(JSON | damaged())
def test_any_json_is_read_or_refused(document: Any) -> None:
    try:
        events = parse_events(document)
    except InvalidEvent:
        return
    assert all(isinstance(event, UploadEvent) and event.key.encode() and event.bucket for event in events)
