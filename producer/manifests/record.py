"""One record of a manifest, in either form of the contract, becomes a checked job.

What a record leaves open may come from `defaults`, a job in the second form that need not be whole: its own fields win,
and params are put together where the record names no other operation. A record with a url stands for itself.

{"custom_id": "1", "operation": "enhance", "params": {"image": "s3://photos/1.jpg"}}
{"custom_id": "1", "method": "POST", "url": "/v1/phota/enhance", "body": {"image": "s3://photos/1.jpg"}}
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json, to_json

from clients.phota_requests import InvalidRequest, Problem, operation_of_path
from producer.jobs import CheckedJob, check
from producer.manifests.lines import LONGEST_LINE
from producer.ownership import Owner

Defaults = Mapping[str, Any]


def check_line(
    data: bytes | None, *, allowed_hosts: Sequence[str], owner: Owner, defaults: Defaults | None = None
) -> CheckedJob:
    """`data`: one line of JSON; None if it was too long. Raise InvalidRequest with every problem found."""
    if data is None:
        raise refused("line_too_long", f"has more than {LONGEST_LINE // 2**10} KB")
    try:
        record = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise _unreadable(data, error) from None
    return _check(record, allowed_hosts, owner, defaults)


def check_record(
    record: Any, *, allowed_hosts: Sequence[str], owner: Owner, defaults: Defaults | None = None
) -> CheckedJob:
    """As `check_line`, for a value that came in a larger document."""
    if len(to_json(record)) > LONGEST_LINE:
        raise refused("job_too_long", f"has more than {LONGEST_LINE // 2**10} KB")
    return _check(record, allowed_hosts, owner, defaults)


def check_row(
    job: dict[str, Any] | InvalidRequest,
    *,
    allowed_hosts: Sequence[str],
    owner: Owner,
    defaults: Defaults | None = None,
) -> CheckedJob:
    """As `check_line`, for a job whose params stood beside its other fields, or the reason why it is none."""
    if isinstance(job, InvalidRequest):
        raise job
    return check(_completed(job, defaults), allowed_hosts=allowed_hosts, owner=owner)


def refused(code: str, text: str) -> InvalidRequest:
    """A record that is no job at all."""
    return InvalidRequest([Problem("job", code, f"job: {text}")])


def _check(record: Any, allowed_hosts: Sequence[str], owner: Owner, defaults: Defaults | None) -> CheckedJob:
    if not isinstance(record, dict):
        raise refused("not_an_object", "is not a JSON object")
    if "url" not in record or "operation" in record:
        job = _completed(record, defaults)
        return check(job, allowed_hosts=allowed_hosts, owner=owner, params_name="params")
    return check(_plain(record), allowed_hosts=allowed_hosts, owner=owner, params_name="body")


def _completed(record: dict[str, Any], defaults: Defaults | None) -> dict[str, Any]:
    if not defaults:
        return record
    beside = {name: value for name, value in defaults.items() if name != "params"}
    params, job = record.get("params", {}), {**beside, **record}
    if job.get("operation") == defaults.get("operation") and isinstance(params, dict):
        job["params"] = {**defaults.get("params", {}), **params}
    return job


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
        return refused("not_utf8", f"is not UTF-8 (byte {fault.start + 1})")
    where = re.sub(r" at line 1 column (\d+)$", r" at column \1", str(error))  # which line it is, stands beside it
    return refused("invalid_json", f"is not JSON: {where}")
