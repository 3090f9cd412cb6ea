"""What is cut out of texts before people read them, by its form and by its value."""

import json
from dataclasses import fields
from typing import Any

import pytest
from pydantic import ValidationError

from clients.phota_errors import PhotaError, redact
from clients.phota_requests import InvalidRequest, validate
from clients.redaction import without_secrets
from models.claims import ClaimedJob
from models.endpoint_leases import HeldEndpoint
from models.endpoints import Put
from producer.webhooks import InvalidEndpoint, Registered, register
from settings import Settings

CANARY = "canary-0123456789abcdef"


@pytest.mark.parametrize(
    "text",
    [
        f"GET https://s3.example/b/k?X-Amz-Signature={CANARY} answered 500",
        f"Retrying: /b/k?X-Amz-Algorithm=x&X-Amz-Signature={CANARY}",
        f"connect to postgresql+psycopg://me:{CANARY}@db:5432/x",
        f"redis://:{CANARY}@cache:6379/0 is away",
        f"REDIS://user:{CANARY}@cache",
        f"connection string host=db password={CANARY} port=1",
        f"rediss://cache:1/0?password={CANARY}",
        f"Authorization: Bearer {CANARY}",
        f"'authorization': 'Basic {CANARY}'",
        f"key pb_0123456789ab_{CANARY} is unknown",
        f"secret whsec_{CANARY}+/=",
        f"x-api-key={CANARY}",
        f"https://hooks.example/a?token={CANARY}",
    ],
)
def test_secrets_are_cut_out_by_their_form(text: str) -> None:
    assert CANARY not in without_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/what?.jpg answered 404",
        "the worker tokenises",
        "pb_ is how keys begin",
        "a bearer of news",
        "https://a.example/b/c answered 500",
        "postgresql://db:5432/photabatch",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "quoted",
    ['a "boat" für Zoë, far out', 'a "boat" für Zoë', json.dumps('a "boat" für Zoë, far out')],
)
def test_a_known_value_is_cut_out_whole_in_part_and_escaped(quoted: str) -> None:
    told = without_secrets(f"refused: {quoted}; try again", 'a "boat" für Zoë, far out')
    assert "boat" not in told
    assert told.startswith("refused: ")
    assert told.endswith("; try again")


def test_a_long_value_that_is_quoted_in_parts_costs_no_time() -> None:
    value = "ab" * 50_000
    assert without_secrets(value[:20] * 100, value).count("[secret]") > 0


def test_a_short_value_tears_no_holes() -> None:
    assert without_secrets("a boat at sea", "a", "boat", "") == "a boat at sea"


def test_a_refusal_of_phota_quotes_no_prompt() -> None:
    prompt = f"{CANARY} in the rain"
    assert CANARY not in redact(f"moderation blocked {prompt!r}", prompt)
    assert CANARY not in str(PhotaError(f"cannot fetch https://s3.example/k?sig={CANARY}", code="x"))


@pytest.mark.parametrize(
    "params",
    [{"prompt": [CANARY]}, {"prompt": {"text": CANARY}}, {"prompt": f"{CANARY}\0"}, {"prompt": f"{CANARY}\ud800"}],
)
def test_a_prompt_that_does_not_fit_is_not_quoted(params: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate("generate", params)
    assert CANARY not in str(caught.value)
    assert "prompt: " in str(caught.value)


def test_a_password_in_a_webhook_url_is_refused_without_it() -> None:
    with pytest.raises(InvalidEndpoint, match="must not contain a user name") as caught:
        register(None, None, f"https://me:{CANARY}@a.example/hook")  # type: ignore[arg-type]
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", f"mysql://me:{CANARY}@db/x"),
        ("database_url", f"password={CANARY}"),
        ("database_url", f"postgresql://me:{CANARY}@db:port/x"),
        ("broker_url", f"{CANARY}@cache"),
        ("s3_endpoint_url", f"https://me:{CANARY}@s3.example"),
        ("phota_base_url", f"ftp://me:{CANARY}@phota.example"),
        ("public_url", f"https://me:{CANARY}@me.example"),
    ],
)
def test_a_setting_that_makes_no_sense_is_not_quoted(name: str, value: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(_env_file=None, **{name: value})  # type: ignore[arg-type]
    assert CANARY not in str(caught.value)
    assert CANARY not in str([fault["msg"] for fault in caught.value.errors()])


def test_settings_show_no_secret() -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        database_url=f"postgresql://me:{CANARY}@db/x",
        broker_url=f"redis://:{CANARY}@cache",
        phota_api_key=CANARY,
    )
    assert CANARY not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("kind", "name"), [(HeldEndpoint, "secrets"), (Put, "secret"), (Registered, "secret"), (ClaimedJob, "params")]
)
def test_what_is_printed_for_people_leaves_secrets_out(kind: Any, name: str) -> None:
    assert [each.repr for each in fields(kind) if each.name == name] == [False]
