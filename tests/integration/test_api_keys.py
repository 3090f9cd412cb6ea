"""API keys: how they are kept, what they open, and how fast they may knock."""

import hashlib
import inspect
from collections.abc import Sequence

import pytest
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from api import keys
from models.accounts import revoke_key
from models.states import Scope
from tests.integration.api_fixtures import OPERATOR, bearer, client_of, key_of, new_account

READ, SUBMIT, ADMIN = "/openapi.json", "/v1/estimates", "/metrics"


def status_of(api: TestClient, path: str) -> int:
    """Submitting is POST, and what is posted here is refused as no JSON: 415 means that the key was good."""
    answer = api.post(path, content=b"?") if path == SUBMIT else api.get(path)
    return int(answer.status_code)


def test_only_a_hash_of_a_key_is_kept(engine: Engine) -> None:
    key = key_of(engine, OPERATOR)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT api_keys::text AS everything, sha256 FROM api_keys")).one()
    assert key.split("_", 2)[2] not in row.everything
    assert bytes(row.sha256) == hashlib.sha256(key.encode()).digest()


def test_two_keys_are_never_alike(engine: Engine) -> None:
    made = [key_of(engine, OPERATOR) for _ in range(20)]
    assert len({key.split("_")[1] for key in made}) == len({key.split("_", 2)[2] for key in made}) == 20
    assert all(len(key.split("_", 2)[2]) >= 43 for key in made), "256 bits"


def test_a_key_is_compared_in_constant_time() -> None:
    source = inspect.getsource(keys.prove)
    assert "hmac.compare_digest(" in source
    assert "sha256 ==" not in source


def test_a_revoked_key_is_worthless_from_the_next_request_on(api: TestClient, engine: Engine) -> None:
    key = key_of(engine, OPERATOR)
    client = client_of(api, key)
    assert status_of(client, READ) == 200
    with engine.begin() as connection:
        assert revoke_key(connection, key.split("_")[1])
    assert status_of(client, READ) == 401


def bad_keys(key: str) -> list[str]:
    _, prefix, secret = key.split("_", 2)
    return [
        "",
        "pb_",
        "pb",
        "x",
        f"pb_{prefix}",
        f"pb_{prefix}_",
        f"pb_{prefix}_{secret}x",
        f"pb_{prefix}_{secret[:-1]}",
        f"PB_{prefix}_{secret}",
        f"pb_ffffffffffff_{secret}",
        f"pb_{prefix}' OR true --_{secret}",
        "é" * 10,
        "a" * 5000,
    ]


def test_unknown_malformed_and_revoked_keys_get_the_same_answer(api: TestClient, engine: Engine) -> None:
    key = key_of(engine, OPERATOR)
    with engine.begin() as connection:
        revoke_key(connection, key.split("_")[1])
    headers = [{"Authorization": f"Bearer {bad}".encode()} for bad in [key, *bad_keys(key_of(engine, OPERATOR))[3:]]]
    answers = [TestClient(api.app).get(READ, headers=each) for each in headers]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}


@pytest.mark.parametrize("number", range(3))
def test_an_empty_key_opens_nothing(api: TestClient, engine: Engine, number: int) -> None:
    bad = bad_keys(key_of(engine, OPERATOR))[number]
    assert TestClient(api.app).get(READ, headers=bearer(bad)).status_code == 401
    assert TestClient(api.app).get(READ, auth=("", bad)).status_code == 401


@pytest.mark.parametrize(
    ("scopes", "statuses"),
    [
        ([Scope.READ], (200, 403, 403)),
        ([Scope.SUBMIT], (403, 415, 403)),
        ([Scope.READ, Scope.SUBMIT], (200, 415, 403)),
        ([Scope.ADMIN], (200, 415, 200)),
    ],
)
def test_a_key_opens_what_its_scopes_say(
    api: TestClient, engine: Engine, scopes: Sequence[Scope], statuses: tuple[int, ...]
) -> None:
    client = client_of(api, key_of(engine, OPERATOR, scopes))
    assert tuple(status_of(client, path) for path in (READ, SUBMIT, ADMIN)) == statuses


def test_a_missing_scope_is_named(api: TestClient, engine: Engine) -> None:
    told = client_of(api, key_of(engine, OPERATOR, [Scope.READ])).post(SUBMIT).json()
    assert told["code"] == "missing_scope"
    assert told["detail"] == "This key lacks the scope `submit`; it has: read."


def test_basic_serves_browsers_for_get_alone(api: TestClient, engine: Engine) -> None:
    client = TestClient(api.app)
    login = ("anybody", key_of(engine, OPERATOR))
    assert client.get(READ, auth=login).status_code == 200
    assert client.post(SUBMIT, auth=login).status_code == 401


def test_a_rate_is_kept_and_says_when_to_come_again(api: TestClient, engine: Engine) -> None:
    client = client_of(api, key_of(engine, new_account(engine, "slow", requests_per_minute=3)))
    assert [status_of(client, READ) for _ in range(4)] == [200, 200, 200, 429]
    refused = client.get(READ)
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 21
    with engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET requests_used_until = requests_used_until - interval '21 s'"))
    assert [status_of(client, READ) for _ in range(2)] == [200, 429]


def test_one_accounts_rate_is_nobody_elses(api: TestClient, engine: Engine, second_api: TestClient) -> None:
    slow = client_of(api, key_of(engine, new_account(engine, "slow", requests_per_minute=1)))
    assert [status_of(slow, READ) for _ in range(2)] == [200, 429]
    assert status_of(second_api, READ) == status_of(api, READ) == 200


def test_a_key_that_is_no_good_spends_nothing(api: TestClient, engine: Engine) -> None:
    slow = key_of(engine, new_account(engine, "slow", requests_per_minute=1))
    assert status_of(client_of(api, slow + "x"), READ) == 401
    assert status_of(client_of(api, slow), READ) == 200
