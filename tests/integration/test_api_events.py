"""Upload events over HTTP, in every shape that somebody sends."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from api.event_examples import EXAMPLES
from clients.storage import Storage
from models.states import Scope
from tests.integration import uploads as fixtures
from tests.integration.api_fixtures import OPERATOR, key_of
from tests.integration.uploads import Uploads, rows
from tests.unit.sns_fake import CONFIRM, TOPIC, Amazon, confirmation, notification, signed

s3, uploads = fixtures.s3, fixtures.uploads
NOTHING = {"accepted": 0, "known": 0, "ignored": 0}
ONE = NOTHING | {"accepted": 1}


def post(api: TestClient, body: Any, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return api.post("/v1/events/s3", content=content, headers={"Content-Type": "text/plain", **headers})


@pytest.fixture
def amazon(api: TestClient, api_app: FastAPI) -> Amazon:
    """The application believes the topic of the fake."""
    amazon = Amazon()
    api_app.state.sns = amazon.reader()
    return amazon


def test_a_plain_event_queues_a_job_and_a_second_one_none(api: TestClient, uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    body = {"Records": [uploads.put("my photo (1).jpg")]}
    answers = [post(api, body) for _ in range(2)]
    assert [answer.json() for answer in answers] == [ONE, NOTHING | {"known": 1}], answers[0].text
    assert rows(engine, "custom_id") == ["my photo (1).jpg"]


def test_an_event_of_eventbridge_queues_a_job(api: TestClient, uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    uploads.put("a+b.jpg")
    event = json.loads(json.dumps(EXAMPLES["event_bridge"]))
    event["detail"] = {"bucket": {"name": uploads.bucket}, "object": {"key": f"{uploads.prefix}a+b.jpg"}}
    assert post(api, event).json() == ONE


@pytest.mark.parametrize("body", [b"", b" ", {}, EXAMPLES["aws_test"]])
def test_somebody_who_tries_whether_anybody_is_here_is_answered(api: TestClient, body: Any) -> None:
    answer = post(api, body)
    assert (answer.status_code, answer.json()) == (200, NOTHING)


@pytest.mark.parametrize("shape", ["aws", "minio", "ceph", "seaweedfs", "event_bridge"])
def test_the_shapes_of_the_document_are_understood(api: TestClient, shape: str) -> None:
    answer = post(api, EXAMPLES[shape])
    assert (answer.status_code, answer.json()) == (200, NOTHING | {"ignored": 1}), answer.text


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"not json", 400, "invalid_json"),
        (b'"text"', 422, "invalid_event"),
        ({"hello": "world"}, 422, "invalid_event"),
        ({"Records": [{"eventName": "ObjectCreated:Put", "s3": {}}]}, 422, "invalid_event"),
        (b" " * (4 * 2**20 + 1), 413, "too_large"),
    ],
)
def test_what_is_no_event_is_refused(api: TestClient, body: Any, status: int, code: str) -> None:
    answer = post(api, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_a_key_may_be_the_password_of_a_url(api: TestClient, engine: Engine) -> None:
    stranger = TestClient(api.app)
    challenge = post(stranger, {})
    assert challenge.status_code == 401
    assert challenge.headers["WWW-Authenticate"].startswith("Basic realm=")
    key = key_of(engine, OPERATOR, [Scope.SUBMIT])
    assert stranger.post("/v1/events/s3", content=b"{}", auth=("sns", key)).json() == NOTHING
    elsewhere = stranger.post("/v1/batches", json={"jobs": []}, auth=("sns", key))
    assert elsewhere.status_code == 401, "here alone"


def test_a_key_that_only_reads_may_not(read_only_api: TestClient) -> None:
    assert post(read_only_api, {}).status_code == 403


def test_while_s3_is_away_the_sender_is_asked_to_come_again(
    api: TestClient, api_app: FastAPI, uploads: Uploads, engine: Engine
) -> None:
    uploads.watch(engine)
    body = {"Records": [uploads.put("1.jpg")]}
    api_app.state.storage = Storage(endpoint_url="http://127.0.0.1:1")
    answer = post(api, body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert rows(engine, "count(*)", "FROM seen_objects") == [0]


def test_a_full_queue_asks_to_come_again(api: TestClient, uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    body = {"Records": [uploads.put("1.jpg"), uploads.put("2.jpg", b"2")]}
    with engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET queue_limit = 1"))
    assert (post(api, body).status_code, post(api, body).json()["code"]) == (429, "queue_full")


# --- Amazon SNS


def test_a_signed_message_of_a_named_topic_queues_a_job(
    api: TestClient, amazon: Amazon, uploads: Uploads, engine: Engine
) -> None:
    uploads.watch(engine)
    envelope = notification(json.dumps({"Records": [uploads.put("ü.jpg")]}))
    answer = post(api, signed(envelope), **{"x-amz-sns-message-type": "Notification"})
    assert (answer.status_code, answer.json()) == (200, ONE), answer.text


def test_a_forged_message_is_refused_even_without_its_header(api: TestClient, amazon: Amazon) -> None:
    envelope = json.loads(signed(notification('{"Records": []}'))) | {"Message": '{"Records": [{}]}'}
    answer = post(api, envelope)
    assert (answer.status_code, answer.json()["code"]) == (403, "sns_signature_invalid")


def test_a_subscription_is_confirmed(api: TestClient, amazon: Amazon) -> None:
    answer = post(api, signed(confirmation()), **{"x-amz-sns-message-type": "SubscriptionConfirmation"})
    assert (answer.status_code, answer.json()) == (200, NOTHING)
    assert CONFIRM in amazon.asked


def test_an_end_of_a_subscription_is_taken_and_not_undone(api: TestClient, amazon: Amazon) -> None:
    answer = post(api, signed(confirmation("UnsubscribeConfirmation")))
    assert (answer.status_code, answer.json()) == (200, NOTHING)
    assert CONFIRM not in amazon.asked


def test_without_a_named_topic_the_answer_says_which_setting(api: TestClient) -> None:
    now = datetime.now(UTC).isoformat()
    for envelope in (notification(Timestamp=now), confirmation(Timestamp=now)):
        answer = post(api, signed(envelope))
        assert (answer.status_code, answer.json()["code"]) == (403, "sns_topic_unknown")
        assert "PHOTABATCH_SNS_TOPICS" in answer.json()["detail"]
        assert TOPIC in answer.json()["detail"]


def test_raw_delivery_is_a_plain_event(api: TestClient, uploads: Uploads, engine: Engine) -> None:
    uploads.watch(engine)
    headers = {"x-amz-sns-message-type": "Notification", "x-amz-sns-rawdelivery": "true"}
    assert post(api, {"Records": [uploads.put("1.jpg")]}, **headers).json() == ONE
