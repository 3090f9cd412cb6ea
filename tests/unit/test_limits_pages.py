"""The pages tell of a batch's limits, and of what moves a job, what the code does."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from api import schemas
from api.requests import BatchBody, BatchOptions
from cli.exits import Exit
from models.outlook import WaitingFor
from models.states import JobState

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "docs/contract.md").read_text()
STATES = (ROOT / "docs/state-machine.md").read_text()
SOURCES = "".join(
    path.read_text() for folder in ("models", "producer") for path in sorted((ROOT / folder).glob("*.py"))
)


@pytest.mark.parametrize("model", [schemas.Batch, schemas.Forecast, schemas.Job, schemas.Counts])
def test_the_contract_names_every_field_of_the_objects(model: type[BaseModel]) -> None:
    http = CONTRACT.split("## HTTP")[1].split("\n## ")[0]
    assert [name for name in model.model_fields if not re.search(rf"\b{name}\b", http)] == []


@pytest.mark.parametrize("model", [BatchOptions, BatchBody])
def test_the_contract_names_every_option_of_a_batch(model: type[BaseModel]) -> None:
    listed = CONTRACT.split("POST /v1/batches ")[1].split("or a JSONL body")[0]
    assert [name for name in model.model_fields if f'"{name}"' not in listed] == []


def test_the_contract_names_every_reason_to_wait() -> None:
    assert all(f"`{reason}`" in CONTRACT for reason in WaitingFor)


def test_both_pages_name_every_reason_of_a_pause() -> None:
    reasons = set(re.findall(r"paused_reason = '(\w+)'", SOURCES)) | set(
        re.findall(r'pause\(.*reason="(\w+)"', SOURCES)
    )
    assert reasons == {"user", "budget", "failure_rate"}
    assert all(f"`{reason}`" in STATES for reason in reasons)
    assert all(f"`{reason}`" in CONTRACT for reason in reasons - {"user"})


def test_the_contract_names_every_warning_of_an_estimate() -> None:
    codes = set(re.findall(r'"(\w+)"', " ".join(re.findall(r'(?:Caution\(|\b_of\(.+?, )f?("[\w{}]+")', SOURCES))))
    assert {"budget_below_low", "window_too_short", "deadline_not_met", "duplicate_inputs"} <= codes
    codes |= {"account_budget_day", "account_budget_month"}
    assert [code for code in codes if f"`{code}`" not in CONTRACT] == []


def test_the_contract_names_every_exit_code() -> None:
    listed = CONTRACT.split("Exit codes:")[1].split("\n\n")[0]
    assert {int(code) for code in re.findall(r"(?:^|· ?|\n)\s*(\d+) ", listed)} == set(Exit)


def test_the_table_of_moves_has_every_legal_one_and_no_other() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \| .+ \| .+ \|$", STATES.split("## Who moves it")[1].split("\n## ")[0], re.M)
    told = {
        (before, after)
        for cells in rows
        for before in re.findall(r"`(\w+)`", cells[0])
        for after in re.findall(r"`(\w+)`", cells[1])
    }
    assert told == {(state.value, after.value) for state in JobState for after in state.next_states}


def test_error_codes_of_what_expired_are_on_the_page() -> None:
    codes = set(re.findall(r"state = 'expired'.*?error_code = '(\w+)'", SOURCES, re.DOTALL))
    assert codes == {"expired", "deadline"}
    assert all(f"`{code}`" in STATES for code in codes)
