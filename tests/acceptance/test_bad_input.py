"""Bad input gets a clear message, a state or exit code of the contract, and is never charged."""

import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.acceptance.conftest import Fleet, states


def huge_png() -> bytes:
    """A header that claims 30,000 × 30,000 pixels, and a little data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def bad_photos(tmp_path: Path, samples: Path) -> Path:
    folder = tmp_path / "bad"
    folder.mkdir()
    good = next(samples.glob("*.jpg")).read_bytes()
    (folder / "text.jpg").write_text("this is not a picture")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "truncated.jpg").write_bytes(good[: len(good) // 2])
    (folder / "huge.png").write_bytes(huge_png())
    (folder / "good.jpg").write_bytes(good)
    return folder


def test_broken_photos_are_rejected_and_the_good_one_is_done(fleet: Fleet, bad_photos: Path) -> None:
    done = fleet.command("run", str(bad_photos), "--op", "enhance", "--json")
    assert done.returncode == 3
    for words in (
        "text.jpg",
        "empty.jpg",
        "truncated.jpg",
        "huge.png",
        "not_an_image",
        "empty_file",
        "truncated_image",
    ):
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert fleet.ledger()["totals"]["charges"] == 1


CLOSED = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("environment", "code", "message"),
    [
        ({"PHOTABATCH_DATABASE_URL": f"postgresql://a:secret@{CLOSED}/b"}, 7, f"The database at {CLOSED}/b"),
        ({"PHOTABATCH_BROKER_URL": f"redis://:secret@{CLOSED}/0"}, 7, f"The broker at {CLOSED}"),
        ({"PHOTABATCH_S3_ENDPOINT_URL": f"http://{CLOSED}"}, 5, "S3:"),
        ({"PHOTA_API_KEY": "wrong"}, 7, "Phota does not accept the key"),
    ],
)
def test_what_is_not_there_is_named(
    idle_fleet: Fleet, samples: Path, environment: dict[str, str], code: int, message: str
) -> None:
    idle_fleet.configure(key="right")
    done = idle_fleet.command("run", str(samples), "--op", "enhance", "--yes", **environment)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert idle_fleet.ledger()["totals"]["charges"] == 0


def test_a_batch_or_a_receiver_that_cannot_be_is_refused(idle_fleet: Fleet, samples: Path) -> None:
    done = idle_fleet.command("run", str(samples), "--op", "enhance", "--resume", "nothing")
    assert (done.returncode, "no such batch" in done.stderr) == (2, True)
    done = idle_fleet.command("run", str(samples), "--op", "enhance", "--webhook", "http://10.0.0.1/hook")
    assert (done.returncode, "--webhook" in done.stderr) == (2, True)


def test_moderation_rejects_without_a_charge(fleet: Fleet) -> None:
    batch: dict[str, Any] = fleet.batch("run", "--op", "generate", "--prompt", "something forbidden")
    assert batch["status"] == "failed"
    assert batch["errors"][0]["code"] == "content_moderation"
    assert batch["cost_usd"]["spent"] == 0
    assert fleet.ledger()["totals"]["charges"] == 0


def test_no_credit_ends_a_run_with_its_reason_and_it_can_be_resumed(fleet: Fleet, engine: Engine) -> None:
    fleet.configure(credit=0)
    run = ["run", "--op", "generate", "--prompt", "a boat", "--count", "2"]
    done = fleet.command(*run)
    assert done.returncode == 7
    assert "lack of credit" in done.stderr
    assert states(engine) == {"queued": 2}
    fleet.configure(credit=10)
    with engine.begin() as connection:
        connection.execute(text("UPDATE upstreams SET closed_until = now()"))  # instead of waiting for the probe
    assert fleet.command(*run).returncode == 0
    assert fleet.ledger()["totals"]["charges"] == 2


def test_a_budget_that_is_reached_pauses_the_run(fleet: Fleet) -> None:
    done = fleet.command("run", "--op", "generate", "--prompt", "a boat", "--count", "5", "--budget", "0.20")
    assert done.returncode == 8
    assert fleet.ledger()["totals"]["charges"] == 2
