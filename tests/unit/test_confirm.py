"""Who is asked before the first charge, where nobody sits at a terminal."""

import io
import sys

import pytest
from pydantic import SecretStr

from cli.exits import UsageFault
from cli.orders import confirm
from settings import Settings

ROOT = "http://127.0.0.1:8190/v1/phota"


@pytest.mark.parametrize(
    "named",
    [
        {"phota_api_key": SecretStr("a key")},
        {"phota_api_key": SecretStr("a key"), "phota_base_url": ROOT},
        {},  # only the workers, elsewhere, know whether they have one
    ],
)
def test_what_may_cost_money_is_not_begun_unasked(monkeypatch: pytest.MonkeyPatch, named: dict[str, object]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    settings = Settings(_env_file=None).model_copy(update=named)
    with pytest.raises(UsageFault, match="give --yes, or a --budget"):
        confirm(settings, yes=False, budget_usd=None)


def test_a_simulation_is_begun_unasked() -> None:
    settings = Settings(_env_file=None).model_copy(update={"phota_base_url": ROOT})
    confirm(settings, yes=False, budget_usd=None)
