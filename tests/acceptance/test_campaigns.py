"""Campaigns that take minutes: `make campaigns`."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from sandbox.stack import Stack
from tests.acceptance.conftest import QUICK, eventually
from tests.acceptance.small_photos import write_photos
from tests.acceptance.test_embedded import PHOTABATCH, command, family, started

PHOTOS = 10_000


@pytest.fixture
def phota() -> Iterator[httpx.Client]:
    """A simulated API that outlives whatever calls it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen([*PHOTABATCH, "simulator", "--port", str(port), *QUICK], stderr=subprocess.DEVNULL)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
        yield client
    process.terminate()
    process.wait()


def charges(phota: httpx.Client) -> int:
    try:
        return int(phota.get("/_sim/ledger").json()["totals"]["charges"])
    except httpx.HTTPError:
        return 0


@pytest.mark.campaign
@pytest.mark.timeout(1_500)
def test_ten_thousand_photos_killed_at_a_third_and_half_of_them_renamed(phota: httpx.Client, tmp_path: Path) -> None:
    """The run, its stack and its workers, all at once; then the same command, which starts a stack again."""
    folder = tmp_path / "photos"
    photos = write_photos(folder, PHOTOS - 200)
    for number, path in enumerate(photos[:200]):  # the same bytes under other names
        shutil.copy(path, folder / f"copy {number}.jpg")
    run = ("run", str(folder), "--op", "enhance", "--out", "out", "--json")
    api = {"PHOTABATCH_PHOTA_BASE_URL": f"{phota.base_url}/v1/phota"}
    first = started(tmp_path, *run, **api)
    assert eventually(lambda: charges(phota) >= PHOTOS // 3, within_s=600)
    everybody = family(first)
    os.kill(first.pid, signal.SIGKILL)
    for process in everybody:
        process.kill()
    first.communicate(timeout=60)
    for path in photos[::2]:
        path.rename(path.with_name(f"renamed {path.name}"))
    second = command(tmp_path, *run, timeout=1_200, **api)
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout.splitlines()[-1])["status"] == "completed"
    assert charges(phota) == PHOTOS - 200
    assert len(list((tmp_path / "out").rglob("*.jpg"))) >= PHOTOS
    with Stack(tmp_path / "data") as stack:
        url = stack.environment()["PHOTABATCH_DATABASE_URL"].replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            contents = Counter(connection.execute("SELECT content_key FROM jobs WHERE state = 'succeeded'").fetchall())
    assert (len(contents), set(contents.values())) == (PHOTOS - 200, {1})
