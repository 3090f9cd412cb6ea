"""Photos in, finished photos out: the installed command, real workers, a simulated Phota that works on the pictures."""

import hashlib
import io
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pillow_heif
import pytest
from celery import Celery
from PIL import Image, ImageOps
from sqlalchemy import Engine, text

from models import DEFAULT_ACCOUNT
from models.progress import find_batch, read_batch
from producer.batches import close_batch, open_batch
from producer.submission import submit
from sandbox.stack import Stack
from tests.acceptance.conftest import QUICK, Fleet, bare_fleet, eventually, states, storage_of

pillow_heif.register_heif_opener()
REAL_PHOTOS = Path(__file__).parents[2].parent / "shared" / "photos"


def outputs(engine: Engine) -> list[dict[str, Any]]:
    query = (
        "SELECT outputs.*, jobs.custom_id, jobs.source FROM outputs JOIN jobs ON jobs.id = job_id ORDER BY custom_id"
    )
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def check_outputs(fleet: Fleet, engine: Engine, folder: Path) -> None:
    """Every row's object is there, of these bytes, a picture, and turned as its photo is."""
    for row in outputs(engine):
        data = storage_of(fleet).get(row["bucket"], row["key"], max_bytes=2**26)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (row["bytes"], row["sha256"])
        with Image.open(io.BytesIO(data)) as after, Image.open(folder / row["custom_id"]) as before:
            after.load()
            upright = ImageOps.exif_transpose(before)
            assert (after.width > after.height) is (upright.width > upright.height), row["custom_id"]


def test_a_folder_of_photos_comes_back_finished(studio: Fleet, engine: Engine, samples: Path, tmp_path: Path) -> None:
    done = studio.command("run", str(samples), "--op", "enhance", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 6
    assert states(engine) == {"succeeded": 6}
    ledger = studio.ledger()
    assert ledger["totals"] == {"charges": 6, "outputs": 6, "cost_usd": pytest.approx(0.72)}
    assert len({charge["client_request_id"] for charge in ledger["charges"]}) == 6
    check_outputs(studio, engine, samples)


@pytest.mark.skipif(not REAL_PHOTOS.is_dir(), reason="the real camera photos are not beside this checkout")
def test_real_camera_photos(studio: Fleet, engine: Engine) -> None:
    batch = studio.batch("run", str(REAL_PHOTOS), "--op", "enhance")
    assert batch["counts"] == batch["counts"] | {"succeeded": 14, "total": 14}
    assert studio.ledger()["totals"]["charges"] == 14
    check_outputs(studio, engine, REAL_PHOTOS)


def test_each_output_was_made_from_its_own_input(studio: Fleet, engine: Engine, samples: Path) -> None:
    studio.command("run", str(samples), "--op", "enhance")
    hashes = {row["sha256"] for row in outputs(engine)}
    assert len(hashes) == 6
    for row in outputs(engine):
        data = storage_of(studio).get(row["bucket"], row["key"], max_bytes=2**26)
        after = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("L").resize((8, 8))
        distances = {}
        for path in samples.iterdir():
            before = ImageOps.autocontrast(ImageOps.exif_transpose(Image.open(path)).convert("L").resize((8, 8)))
            pairs = zip(before.tobytes(), ImageOps.autocontrast(after).tobytes(), strict=True)
            distances[path.name] = sum(abs(a - b) for a, b in pairs)
        assert min(distances, key=distances.__getitem__) == row["custom_id"]


@pytest.mark.parametrize("mode", ["async", "sync"])
def test_the_request_bodies_of_the_seed_page(
    stack: Stack,
    database_url: str,
    engine: Engine,
    samples: Path,
    tmp_path: Path,
    mode: str,
) -> None:
    """Through Python, the command line, and Celery by name."""
    fleet = bare_fleet(stack, database_url, tmp_path, *QUICK)
    fleet.start(PHOTABATCH_PHOTA_MODE=mode)
    handler = partial(SimpleHTTPRequestHandler, directory=str(samples))
    files = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=files.serve_forever, daemon=True).start()
    try:
        photo = f"http://127.0.0.1:{files.server_address[1]}/{next(samples.glob('*.jpg')).name}"
        through_python(engine, photo)
        through_the_command_line(fleet, photo)
        through_celery(fleet, photo)
        assert eventually(lambda: states(engine) == {"succeeded": 9}), states(engine)
        assert fleet.ledger()["totals"]["charges"] == 9
        assert fleet.ledger()["totals"]["outputs"] == 3 * (2 + 2 + 4)
        assert len(outputs(engine)) == 3 * (2 + 2 + 4)
    finally:
        files.shutdown()
        fleet.stop()


EDIT = {
    "prompt": "Make [[abc123]] smile wider",
    "profile_ids": ["abc123"],
    "base_model": "nb2",
    "aspect_ratio": "1:1",
    "resolution": "4K",
    "num_output_images": 2,
    "output_format": "jpg",
}
GENERATE = {
    "prompt": "A professional headshot of [[abc123]] in a modern office",
    "base_model": "nb2",
    "num_output_images": 4,
    "output_format": "jpg",
}
ENHANCE = {"profile_ids": ["abc123"], "num_output_images": 2, "output_format": "jpg"}


def through_python(engine: Engine, photo: str) -> None:
    jobs = [
        {"operation": "edit", "params": EDIT | {"images": [photo]}},
        {"operation": "generate", "params": GENERATE},
        {"operation": "enhance", "params": ENHANCE | {"image": photo}},
    ]
    with engine.begin() as connection:
        submit(jobs, session=connection)


def through_the_command_line(fleet: Fleet, photo: str) -> None:
    words = {name.replace("_", "-").replace("ids", "id"): value for name, value in EDIT.items()}
    edit = [
        part
        for name, value in words.items()
        for part in (f"--{name}", str(*value) if name == "profile-id" else str(value))
    ]
    assert fleet.command("run", photo, "--op", "edit", *edit).returncode == 0
    generate = ["--prompt", str(GENERATE["prompt"]), "--base-model", "nb2", "-n", "4", "--output-format", "jpg"]
    assert fleet.command("run", "--op", "generate", *generate).returncode == 0
    enhance = ["--profile-id", "abc123", "-n", "2", "--output-format", "jpg"]
    assert fleet.command("run", photo, "--op", "enhance", *enhance).returncode == 0


def through_celery(fleet: Fleet, photo: str) -> None:
    app = Celery(broker=fleet.environment["PHOTABATCH_BROKER_URL"])
    app.send_task("photabatch.edit", kwargs=EDIT | {"images": [photo]}, queue="intake")
    app.send_task("photabatch.generate", kwargs=GENERATE, queue="intake")
    app.send_task("photabatch.enhance", kwargs=ENHANCE | {"image": photo}, queue="intake")


def test_celery_jobs_are_taken_once_and_bad_ones_leave_a_trace(fleet: Fleet, engine: Engine) -> None:
    app = Celery(broker=fleet.environment["PHOTABATCH_BROKER_URL"])
    for _ in range(3):
        app.send_task("photabatch.generate", kwargs={"prompt": "x", "idempotency_key": "same"}, queue="intake")
    bad = {"prompt": "x", "images": ["https://example.com/1.jpg"], "custom_id": "bad", "batch": "uploads"}
    app.send_task("photabatch.generate", kwargs=bad, queue="intake")
    assert eventually(lambda: states(engine) == {"succeeded": 1, "rejected": 1}), states(engine)
    assert fleet.ledger()["totals"]["charges"] == 1
    with engine.connect() as connection:
        batch = read_batch(connection, find_batch(connection, DEFAULT_ACCOUNT, "uploads"))
    assert batch is not None
    assert batch.errors[0]["message"].startswith("images: generate takes no images")


def test_a_batch_of_python_jobs_is_followed_and_fetched(fleet: Fleet, engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        batch = open_batch(connection, "mine")
        job = {"operation": "generate", "params": {"prompt": "a boat"}}
        submit([job | {"custom_id": f"sub/{n}"} for n in range(5)], batch=batch, session=connection)
        close_batch(connection, batch)
    assert fleet.batch("watch", "mine")["status"] == "completed"
    assert fleet.command("results", "mine", "--to", "there").returncode == 0
    assert sorted(path.name for path in (tmp_path / "there" / "sub").iterdir()) == [f"{n}.jpg" for n in range(5)]
    lines = fleet.command("results", "mine").stdout.splitlines()
    assert len(lines) == 5
    shutil.rmtree(tmp_path / "there")
