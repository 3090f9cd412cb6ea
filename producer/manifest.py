"""One record of a manifest, in either form of the contract, becomes a checked job.

{"custom_id": "1", "operation": "enhance", "params": {"image": "s3://photos/1.jpg"}}
{"custom_id": "1", "method": "POST", "url": "/v1/phota/enhance", "body": {"image": "s3://photos/1.jpg"}}
"""

import re
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json, to_json

from clients.phota_requests import InvalidRequest, Problem, operation_of_path
from producer.jobs import CheckedJob, check
from producer.lines import LONGEST_LINE
from producer.ownership import Owner


def check_line(data: bytes | None, *, allowed_hosts: Sequence[str], owner: Owner) -> CheckedJob:
    """`data`: one line of JSON; None if it was too long. Raise InvalidRequest with every problem found."""
    if data is None:
        raise _refused("line_too_long", f"has more than {LONGEST_LINE // 2**10} KB")
    try:
        record = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise _unreadable(data, error) from None
    return _check(record, allowed_hosts, owner)


def check_record(record: Any, *, allowed_hosts: Sequence[str], owner: Owner) -> CheckedJob:
    """As `check_line`, for a value that came in a larger document."""
    if len(to_json(record)) > LONGEST_LINE:
        raise _refused("job_too_long", f"has more than {LONGEST_LINE // 2**10} KB")
    return _check(record, allowed_hosts, owner)


def _check(record: Any, allowed_hosts: Sequence[str], owner: Owner) -> CheckedJob:
    if not isinstance(record, dict):
        raise _refused("not_an_object", "is not a JSON object")
    if "url" not in record or "operation" in record:
        return check(record, allowed_hosts=allowed_hosts, owner=owner, params_name="params")
    return check(_plain(record), allowed_hosts=allowed_hosts, owner=owner, params_name="body")


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """The first form of a record in the second."""
    rest = dict(record)
    url, method, body = rest.pop("url"), rest.pop("method", "POST"), rest.pop("body", {})
    problems = []
    if not isinstance(url, str):
        problems.append(Problem("url", "invalid_type", "url: must be text"))
    if method != "POST":
        problems.append(Problem("method", "invalid_value", "method: must be POST"))
    if not isinstance(body, dict):
        problems.append(Problem("body", "invalid_type", "body: must be an object"))
    if "params" in rest:
        problems.append(Problem("params", "not_allowed", "params: beside a url they stand in body"))
    if problems:
        raise InvalidRequest(problems)
    return {**rest, "operation": operation_of_path(url), "params": body}


def _unreadable(data: bytes, error: ValueError) -> InvalidRequest:
    try:
        data.decode()
    except UnicodeDecodeError as fault:
        return _refused("not_utf8", f"is not UTF-8 (byte {fault.start + 1})")
    where = re.sub(r" at line 1 column (\d+)$", r" at column \1", str(error))  # which line it is, stands beside it
    return _refused("invalid_json", f"is not JSON: {where}")


def _refused(code: str, text: str) -> InvalidRequest:
    return InvalidRequest([Problem("job", code, f"job: {text}")])
