"""Nothing of one account is visible to another: every route of the OpenAPI, tried with ids of somebody else's."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from models.states import Scope
from tests.integration.api_fixtures import OPERATOR, client_of, key_of
from tests.integration.conftest import add_batch

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs/openapi.json").read_text())
OPERATIONS = [(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item]
WITH_IDS = [(method, path) for method, path in OPERATIONS if "{" in path]
OPEN = {"/healthz", "/readyz", "/v1/callbacks/phota"}
CLOSED = [(method, path) for method, path in OPERATIONS if path not in OPEN]
MALFORMED = ["x", "0", "-", "null", "01a20654-4849-767b-adc9", "' OR 1=1 --", "%00", "é", "a" * 300]


@pytest.fixture
def ids(engine: Engine) -> dict[str, str]:
    """Of a batch of the first account that has ended, so that following it ends too, and of a job of it."""
    batch = add_batch(engine)
    with engine.begin() as connection:
        job_id = connection.scalar(text("SELECT id FROM jobs"))
        connection.execute(text("UPDATE jobs SET state = 'cancelled', due_at = NULL, finished_at = now()"))
        connection.execute(text("UPDATE batches SET finished_at = now(), outcome = 'cancelled'"))
    return {"batch_id": str(batch.id), "job_id": str(job_id)}


def ask(api: TestClient, method: str, path: str) -> Any:
    """The status and the body of the answer, without its `instance`, which is the path."""
    answer = api.request(method, path)
    told = answer.json() if "json" in answer.headers.get("content-type", "") else {}
    return answer.status_code, {name: value for name, value in told.items() if name != "instance"}


def test_there_are_routes_with_ids() -> None:
    assert len(WITH_IDS) >= 9


@pytest.mark.parametrize(("method", "path"), WITH_IDS)
def test_ids_of_another_account_are_unknown_ones(
    api: TestClient, second_api: TestClient, ids: dict[str, str], method: str, path: str
) -> None:
    assert ask(api, method, path.format(**ids))[0] != 404, "its owner finds it"
    unknown = ask(second_api, method, path.format(batch_id=uuid.uuid4(), job_id=uuid.uuid4()))
    assert (unknown[0], unknown[1]["code"]) == (404, "not_found")
    assert ask(second_api, method, path.format(**ids)) == unknown
    for word in MALFORMED:
        assert ask(second_api, method, path.format(batch_id=word, job_id=word)) == unknown, word


@pytest.mark.parametrize(("method", "path"), WITH_IDS)
def test_an_id_of_another_kind_is_unknown_too(api: TestClient, ids: dict[str, str], method: str, path: str) -> None:
    assert ask(api, method, path.format(batch_id=ids["job_id"], job_id=ids["batch_id"]))[0] == 404


def test_nothing_was_done_to_what_is_somebody_elses(
    second_api: TestClient, engine: Engine, ids: dict[str, str]
) -> None:
    add_batch(engine, jobs=3)
    everything = text("SELECT string_agg(jobs::text || batches::text, '' ORDER BY jobs.id) FROM jobs, batches")
    with engine.connect() as connection:
        before = connection.scalar(everything)
    for method, path in WITH_IDS:
        second_api.request(method, path.format(**ids))
    with engine.connect() as connection:
        assert connection.scalar(everything) == before


def test_lists_show_the_callers_own_alone(api: TestClient, second_api: TestClient, ids: dict[str, str]) -> None:
    assert [batch["id"] for batch in api.get("/v1/batches").json()["data"]] == [ids["batch_id"]]
    assert second_api.get("/v1/batches").json() == {"data": [], "has_more": False, "next_after": None}


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_every_route_wants_a_key(api: TestClient, ids: dict[str, str], method: str, path: str) -> None:
    stranger = TestClient(api.app)
    for place in (path.format(**ids), path.format(batch_id=uuid.uuid4(), job_id=uuid.uuid4())):
        assert ask(stranger, method, place) == ask(stranger, "GET", "/v1/batches")
        assert ask(stranger, method, place)[0] == 401


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_every_route_wants_its_scope(
    api: TestClient, engine: Engine, ids: dict[str, str], method: str, path: str
) -> None:
    others = {"/metrics": [Scope.READ, Scope.SUBMIT]}.get(path, [Scope.READ if method == "POST" else Scope.SUBMIT])
    client = client_of(api, key_of(engine, OPERATOR, others))
    status, told = ask(client, method, path.format(**ids))
    assert (status, told["code"]) == (403, "missing_scope")


@pytest.mark.parametrize(("method", "path"), sorted(set(OPERATIONS) - set(CLOSED)))
def test_health_and_callbacks_need_no_key(api: TestClient, method: str, path: str) -> None:
    assert ask(TestClient(api.app), method, path)[1].get("code") != "unauthorized"
