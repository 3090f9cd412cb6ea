"""A record of a manifest, in either form; and what is wrong with it, where."""

import json
from decimal import Decimal
from typing import Any

import pytest

from clients.phota_requests import InvalidRequest
from producer.jobs import CheckedJob
from producer.manifests.lines import LONGEST_LINE
from producer.manifests.record import check_line, check_record
from producer.ownership import OPERATOR, Owner

OWNER = Owner(OPERATOR, "photabatch")
EDIT = {"prompt": "warmer light", "images": ["https://example.com/2.jpg"]}


def checked(record: Any) -> CheckedJob:
    data = record if isinstance(record, bytes) else json.dumps(record).encode()
    return check_line(data, allowed_hosts=(), owner=OWNER)


def faults(record: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        checked(record)
    return [(problem.param, problem.code) for problem in caught.value.problems]


def test_both_forms_are_the_same_job() -> None:
    plain = checked({"custom_id": "2", "operation": "edit", "params": EDIT})
    other = checked({"custom_id": "2", "method": "POST", "url": "/v1/phota/edit", "body": EDIT})
    assert plain == other
    assert (plain.spec.custom_id, plain.high_usd) == ("2", Decimal("0.09"))


def test_fields_beside_the_body_are_those_of_a_job() -> None:
    job = checked(
        {"url": "https://api.photalabs.com/v1/phota/edit", "body": EDIT, "priority": "bulk", "output": "s3://done/a"}
    )
    assert (job.spec.priority, job.output) == ("bulk", "s3://done/a/{batch}/{custom_id}-{index}.{ext}")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", "invalid_json"),
        (b"[1]", "not_an_object"),
        (b'"enhance"', "not_an_object"),
        (b'{"operation": "enhance\xff"}', "not_utf8"),
        (b'{"operation": "\\ud800"}', "invalid_json"),
        (b"[" * 5_000, "invalid_json"),
        (b"NaN", "invalid_json"),
    ],
)
def test_what_is_no_object_says_so(line: bytes, code: str) -> None:
    assert faults(line) == [("job", code)]


def test_what_is_wrong_with_a_line_does_not_call_it_line_1() -> None:
    with pytest.raises(InvalidRequest, match=r"^job: is not JSON: EOF while parsing an object at column 1$"):
        checked(b"{")


def test_faults_of_a_job_and_of_its_params_are_told_together() -> None:
    assert faults({"operation": "generate", "params": {"n": 1}, "x": 2, "output": "here"}) == [
        ("x", "unknown_parameter"),
        ("params.prompt", "missing"),
        ("params.n", "unknown_parameter"),
        ("output", "bad_url"),
    ]
    assert faults({"operation": 7, "params": 8}) == [("operation", "invalid_type"), ("params", "invalid_type")]


def test_a_line_that_was_too_long_is_a_fault() -> None:
    with pytest.raises(InvalidRequest, match="has more than 64 KB"):
        check_line(None, allowed_hosts=(), owner=OWNER)
    with pytest.raises(InvalidRequest, match="has more than 64 KB"):
        check_record({"operation": "x" * LONGEST_LINE}, allowed_hosts=(), owner=OWNER)


def test_a_fault_names_the_field_where_it_stands() -> None:
    assert faults({"operation": "enhance", "params": {"image": "file:///etc/passwd"}}) == [("params.image", "bad_url")]
    assert faults({"url": "/v1/phota/edit", "body": EDIT | {"images": []}}) == [("body.images", "out_of_range")]
    assert faults({"operation": "enhance", "params": {"image": "s3://photos/b"}, "priority": "high"}) == [
        ("priority", "invalid_value")
    ]
    assert faults({"operation": "paint", "params": {}}) == [("operation", "unknown_operation")]


def test_every_fault_of_the_second_form_is_told() -> None:
    found = faults({"url": 7, "method": "GET", "body": [], "params": {}})
    assert found == [
        ("url", "invalid_type"),
        ("method", "invalid_value"),
        ("body", "invalid_type"),
        ("params", "not_allowed"),
    ]
    assert faults({"url": "/v1/phota/train", "body": {}}) == [("url", "unknown_operation")]


def test_thousands_of_faults_in_a_line_are_told_as_twenty() -> None:
    params = {"image": "https://example.com/1.jpg"} | {f"x{number}": 1 for number in range(3_000)}
    assert len(faults({"operation": "enhance", "params": params})) == 20
