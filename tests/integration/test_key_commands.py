"""`photabatch key` and `photabatch account`, on a real database."""

import json
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text

from api.keys import prove
from cli.main import main
from models.accounts import AccountRef, find_account, knows_time_zone
from settings import get_settings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str) -> Iterator[Run]:
    """Run `photabatch …` in this process: its exit code, what it printed, what it told people."""
    monkeypatch.setenv("PHOTABATCH_DATABASE_URL", database_url)
    get_settings.cache_clear()

    def once(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["photabatch", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    yield once
    get_settings.cache_clear()


def account(engine: Engine, name: str) -> AccountRef:
    with engine.connect() as connection:
        found = find_account(connection, name)
    assert found is not None
    return found


def listed(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines()]


def test_a_new_key_alone_is_printed(run: Run, engine: Engine) -> None:
    code, printed, told = run("key", "create", "--name", "laptop")
    assert code == 0
    with engine.begin() as connection:
        caller = prove(connection, printed.removesuffix("\n"))
    assert (caller.account.name, caller.scopes) == ("default", {"read", "submit"})
    assert printed.strip() not in told


def test_a_key_has_the_scopes_and_the_account_that_it_was_given(run: Run, engine: Engine) -> None:
    run("account", "add", "acme")
    printed = run("key", "create", "--account", "acme", "--scope", "admin", "--scope", "read", "--scope", "read")[1]
    with engine.begin() as connection:
        caller = prove(connection, printed.strip())
    assert (caller.account.name, caller.scopes) == ("acme", {"read", "admin"})


def test_keys_are_listed_without_their_secrets(run: Run) -> None:
    key = run("key", "create", "--name", "laptop")[1].strip()
    _, prefix, secret = key.split("_", 2)
    shown = run("key", "list")[1]
    assert prefix in shown
    assert "laptop" in shown
    assert secret not in shown
    (only,) = listed(run("key", "list", "--json")[1])
    assert (only["prefix"], only["revoked_at"], only["scopes"]) == (prefix, None, ["read", "submit"])
    assert set(only) == {"id", "account", "name", "prefix", "scopes", "created_at", "last_used_at", "revoked_at"}


@pytest.mark.parametrize("word", ["{prefix}", "pb_{prefix}", "{key}"])
def test_a_key_is_revoked_by_its_prefix_or_whole(run: Run, word: str) -> None:
    key = run("key", "create")[1].strip()
    prefix = key.split("_")[1]
    assert run("key", "revoke", word.format(prefix=prefix, key=key))[0] == 0
    assert "revoked 20" in run("key", "list")[1]
    code, _, told = run("key", "revoke", prefix)
    assert (code, told.strip()) == (2, f"{prefix}: no such key in force; `photabatch key list` shows them")


def test_a_new_account_has_a_folder_of_its_own_and_nothing_else(run: Run, engine: Engine) -> None:
    assert run("account", "add", "acme")[0] == 0
    made = account(engine, "acme")
    assert made.s3_prefixes == (f"s3://photabatch/accounts/{made.id}/",)
    assert (made.requests_per_minute, made.queue_limit) == (None, None)
    with engine.connect() as connection:
        secret = connection.scalar(text("SELECT webhook_secret FROM accounts WHERE name = 'acme'"))
    assert secret.startswith("whsec_")


def test_adding_it_again_changes_the_limits_that_are_named(run: Run, engine: Engine) -> None:
    run("account", "add", "acme", "--requests-per-minute", "60", "--queue-limit", "1000", "--s3", "s3://photos/b")
    first = account(engine, "acme")
    assert (first.requests_per_minute, first.queue_limit, first.s3_prefixes) == (60, 1000, ("s3://photos/b/",))
    run("account", "add", "acme", "--queue-limit", "0", "--s3-any")
    again = account(engine, "acme")
    assert again == AccountRef(first.id, "acme", 60, None, None)


def test_the_default_account_stays_unlimited(run: Run, engine: Engine) -> None:
    run("account", "add", "default", "--requests-per-minute", "600")
    found = account(engine, "default")
    assert (found.requests_per_minute, found.queue_limit, found.s3_prefixes) == (600, None, None)


def test_accounts_are_listed_with_their_limits(run: Run) -> None:
    run("account", "add", "acme", "--s3", "s3://photos/", "--s3", "s3://done/c/")
    first, second = listed(run("account", "list", "--json")[1])
    assert (first["name"], first["s3_prefixes"]) == ("acme", ["s3://photos/", "s3://done/c/"])
    assert (second["name"], second["s3_prefixes"]) == ("default", None)
    assert "s3://photos/ s3://done/c/" in run("account", "list")[1]


def test_budgets_and_their_zone_are_limits_too(run: Run, engine: Engine) -> None:
    run("account", "add", "acme", "--budget-day", "5", "--budget-month", "60.5", "--time-zone", "Europe/Paris")
    made = account(engine, "acme")
    assert (made.budget_day_usd, made.budget_month_usd, made.time_zone) == (5, Decimal("60.5"), "Europe/Paris")
    run("account", "add", "acme", "--budget-day", "0", "--queue-limit", "7")
    again = account(engine, "acme")
    assert (again.budget_day_usd, again.budget_month_usd, again.time_zone) == (None, Decimal("60.5"), "Europe/Paris")
    assert again.queue_limit == 7


def test_accounts_are_listed_with_what_they_spent(run: Run, engine: Engine) -> None:
    run("account", "add", "default", "--budget-day", "5")
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO account_days SELECT id, (now() AT TIME ZONE 'UTC')::date, 0.36 FROM accounts")
        )
    shown = run("account", "list")[1]
    assert "$0.36 today, $0.36 this month; any rate" in shown
    assert "$5.00 a day (UTC)" in shown
    (only,) = listed(run("account", "list", "--json")[1])
    assert (only["budget_day_usd"], only["budget_month_usd"], only["spent_day_usd"]) == (5.0, None, 0.36)


def test_a_zone_is_one_that_the_database_knows_too(run: Run, engine: Engine) -> None:
    with engine.connect() as connection:
        assert knows_time_zone(connection, "America/New_York")
        assert not knows_time_zone(connection, "Europe/Pariss")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["account", "add", "acme", "--budget-day", "lots"], "'lots' is not a sum of money"),
        (["account", "add", "acme", "--time-zone", "Europe/Pariss"], "--time-zone Europe/Pariss: no such time zone"),
        (["account", "add", "Acme"], "Acme: lower-case letters"),
        (["account", "add", "../x"], "../x: lower-case letters"),
        (["account", "add", "a" * 64], "up to 63"),
        (["account", "add", "acme", "--s3", "https://a/"], "--s3 https://a/: must begin with s3://"),
        (["account", "add", "acme", "--s3", "s3://photos/", "--s3-any"], "one of them"),
        (["account", "add", "acme", "--queue-limit", "-1"], "Invalid value"),
        (["key", "create", "--account", "acme"], "acme: no such account; `photabatch account add acme` makes it"),
        (["key", "create", "--scope", "root"], "Invalid value"),
        (["key", "create", "--name", "a\nb"], "printable"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, words: list[str], message: str) -> None:
    code, printed, told = run(*words)
    assert (code, printed) == (2, "")
    assert message in told
