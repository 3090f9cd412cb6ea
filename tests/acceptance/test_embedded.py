"""One machine, nothing else: the embedded stack as a user meets it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandbox.samples import write_samples
from tests.acceptance.conftest import eventually

PHOTABATCH = [sys.executable, "-P", "-m", "cli.main"]


def clean_environment(home: Path) -> dict[str, str]:
    ours = ("PHOTABATCH_", "PHOTA_", "AWS_")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        "PHOTABATCH_HOME": str(home / "data"),
        "PYTHONDONTWRITEBYTECODE": "",
    }


def command(home: Path, *words: str, timeout: float = 100, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PHOTABATCH, *words],
        env=clean_environment(home) | environment,
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def started(home: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PHOTABATCH, *words],
        env=clean_environment(home) | environment,
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = started(tmp_path, "up", "--workers", "1")
    assert process.stderr is not None
    for line in process.stderr:
        if "photabatch is up" in line:
            break
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def test_up_is_used_by_other_commands_and_stops_cleanly(
    up: subprocess.Popen[str], samples: Path, tmp_path: Path
) -> None:
    children = family(up)
    second = command(tmp_path, "up")
    assert second.returncode == 7
    assert str(up.pid) in second.stderr
    done = command(tmp_path, "run", str(samples), "--op", "edit", "--prompt", "evening light", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["succeeded"] == 6
    assert command(tmp_path, "status").stdout.count("completed") == 1
    url = command(tmp_path, "env", "database_url", "--show-secrets").stdout.strip()
    assert url.startswith("postgresql://")
    up.send_signal(signal.SIGINT)
    assert up.wait(timeout=30) == 0
    assert eventually(lambda: not [child for child in children if child.is_running()])


def test_an_interrupted_run_goes_on_without_paying_twice(tmp_path: Path) -> None:
    photos = write_samples(tmp_path / "photos", 3)
    words = ["run", str(tmp_path / "photos"), "--op", "edit", "--prompt", "dusk", "-n", "2", "--out", "out"]
    first = started(tmp_path, *words)
    assert eventually(lambda: charges(tmp_path) >= 1)
    first.send_signal(signal.SIGINT)
    _, told = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "To go on with" in told
    second = command(tmp_path, *words, "--json")
    assert second.returncode == 0, second.stderr
    batch: dict[str, Any] = json.loads(second.stdout)
    assert batch["counts"]["succeeded"] == len(photos)
    assert len(list((tmp_path / "out").iterdir())) == 2 * len(photos)
    assert charges(tmp_path) == len(photos)


def charges(home: Path) -> int:
    """What the simulated Phota wrote down, over both of its lives."""
    journal = home / "data" / "phota" / "journal.jsonl"
    if not journal.exists():
        return 0
    return sum('"cents"' in line for line in journal.read_text().splitlines())


def test_demo_ends_with_a_signed_webhook(tmp_path: Path) -> None:
    done = command(tmp_path, "demo", "--count", "3", "--json")
    assert done.returncode == 0, done.stderr
    assert "Webhook batch.completed received, signature valid" in done.stderr
    assert json.loads(done.stdout)["counts"]["succeeded"] == 3
    assert "contact sheet" in done.stderr.lower()
