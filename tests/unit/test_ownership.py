"""What an account's jobs may name in the storage, and where its own objects lie."""

import uuid
from typing import Any

import pytest

from clients.phota_requests import InvalidRequest
from models.accounts import AccountRef
from producer.jobs import check
from producer.ownership import OPERATOR, Owner

ACCOUNT_ID = uuid.UUID("0192f0c1-7d3a-7c41-9d0e-2f6a3c1b5e77")
HOME = f"accounts/{ACCOUNT_ID}/"
TENANT = Owner(AccountRef(ACCOUNT_ID, "tenant", None, None, ("s3://photos/mine/", "s3://other")), "photabatch")


def faults(owner: Owner, *images: str, output: str | None = None) -> list[str]:
    job: dict[str, Any] = {"operation": "edit", "params": {"prompt": "x", "images": list(images)}, "output": output}
    try:
        check(job, owner=owner, params_name="params")
    except InvalidRequest as error:
        return [problem.param for problem in error.problems if problem.code == "not_allowed"]
    return []


@pytest.mark.parametrize("uri", ["s3://photos/mine/1.jpg", "s3://other/a/b.jpg", f"s3://photabatch/{HOME}inputs/1.jpg"])
def test_what_is_below_a_prefix_or_its_own_may_be_read(uri: str) -> None:
    assert faults(TENANT, uri, "https://example.com/1.jpg") == []


@pytest.mark.parametrize(
    "uri",
    [
        "s3://photos/theirs/1.jpg",
        "s3://photos/mine2/1.jpg",
        "s3://others/1.jpg",
        "s3://photabatch/inputs/1.jpg",
        "s3://photabatch/accounts/0192f0c1-7d3a-7c41-9d0e-2f6a3c1b5e78/inputs/1.jpg",
        "s3://photos/mine/../theirs/1.jpg",
        "s3://photos/mine/./1.jpg",
    ],
)
def test_anything_else_is_refused_by_the_name_of_its_field(uri: str) -> None:
    assert faults(TENANT, "s3://other/1.jpg", uri) == ["params.images[1]"]


def test_outputs_go_below_a_prefix_too() -> None:
    assert faults(TENANT, "s3://other/1.jpg", output="s3://photos/mine/done") == []
    assert faults(TENANT, "s3://other/1.jpg", output="s3://photos/") == ["output"]
    assert faults(TENANT, "s3://other/1.jpg", output="s3://photos/{custom_id}-{index}.{ext}") == ["output"]


def test_the_operator_may_name_everything() -> None:
    assert faults(Owner(OPERATOR, "photabatch"), "s3://anything/1.jpg", output="s3://anywhere/") == []


def test_own_objects_of_a_tenant_lie_in_its_own_folder() -> None:
    assert TENANT.input_key("ab12", "jpg") == f"{HOME}inputs/ab12.jpg"
    assert TENANT.default_output(in_batch=True) == f"s3://photabatch/{HOME}{{batch}}/{{custom_id}}-{{index}}.{{ext}}"
    assert TENANT.default_output(in_batch=False) == f"s3://photabatch/{HOME}jobs/{{job_id}}-{{index}}.{{ext}}"
    assert Owner(OPERATOR, "photabatch").input_key("ab12", "jpg") == "inputs/ab12.jpg"
