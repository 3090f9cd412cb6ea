"""The committed OpenAPI document is that of the code, and whole."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from api.openapi_document import OPERATION_IDS
from api.openapi_file import text

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads((ROOT / "docs/openapi.json").read_text())
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}
OPEN = {"GET /healthz", "GET /readyz", "POST /v1/callbacks/phota"}
ONCE_ANYHOW = {"POST /v1/uploads", "POST /v1/events/s3"}


def test_the_committed_document_is_up_to_date() -> None:
    assert text() == (ROOT / "docs/openapi.json").read_text(), "the HTTP API has changed: run `make openapi`"


def test_every_operation_id_is_of_a_route() -> None:
    assert {f"{method.upper()} {path}" for method, path in OPERATION_IDS} == set(OPERATIONS)
    assert len(set(OPERATION_IDS.values())) == len(OPERATION_IDS)


def test_every_reference_leads_somewhere() -> None:
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT)):
        found: Any = DOCUMENT
        for step in reference.split("/"):
            found = found[step]
        assert found


def test_every_component_is_used() -> None:
    written = json.dumps(DOCUMENT)
    for kind in ("schemas", "responses"):
        unused = [name for name in DOCUMENT["components"][kind] if f'"#/components/{kind}/{name}"' not in written]
        assert not unused


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_says_who_may(operation: str) -> None:
    found = OPERATIONS[operation]
    schemes = [name for each in found.get("security", []) for name in each]
    basic = ["HTTPBasic"] if operation.startswith("GET") or operation == "POST /v1/events/s3" else []
    assert schemes == ([] if operation in OPEN else ["HTTPBearer", *basic])
    assert ({"401", "403", "429"} <= set(found["responses"])) == (operation not in OPEN)


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each not in OPEN and each.startswith("POST")])
def test_every_post_takes_a_key_to_be_sent_again_but_where_that_does_no_harm(operation: str) -> None:
    names = [parameter["name"] for parameter in OPERATIONS[operation].get("parameters", [])]
    assert ("Idempotency-Key" in names) == (operation not in ONCE_ANYHOW)


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if "_id}" in each])
def test_every_operation_on_an_id_may_not_find_it(operation: str) -> None:
    assert "404" in OPERATIONS[operation]["responses"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_refusal_is_a_problem_document(operation: str) -> None:
    for status, answer in OPERATIONS[operation]["responses"].items():
        if "$ref" in answer:
            answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        is_problem = list(answer.get("content", {})) == ["application/problem+json"]
        assert is_problem == (status >= "400" and operation != "GET /readyz"), status


def test_the_contract_lists_every_route() -> None:
    section = (ROOT / "docs/contract.md").read_text().split("## HTTP")[1].split("\n## ")[0]
    for path in DOCUMENT["paths"]:
        plain = path.replace("batch_id", "id").replace("job_id", "id")
        assert plain.rpartition("/")[2] in section, path
