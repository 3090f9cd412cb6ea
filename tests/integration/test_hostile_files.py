"""Four hundred files that mean harm, through every way in: each is told what it is, soon and in little memory.

Seconds are those that the decoder worked, so that a busy machine makes no difference.
"""

import asyncio
import io
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image
from starlette.testclient import TestClient

from clients.image_inspector import ImageInspector
from clients.image_survey import START_BYTES, Surveyor
from clients.images import MAX_BYTES, BadImage
from clients.phota_requests import Operation, validate
from producer.recipes import Recipe
from producer.runs.lineup import Past, line_up
from producer.runs.preflight import Kind, Preflight
from producer.sources.photos import Photo
from tests.integration.decoder_watch import forget_peak, pid_of, usage
from tests.integration.hostile_files import hostile_files
from tests.integration.hostile_jpeg import Hostile

log = logging.getLogger(__name__)

SECONDS, MB = 5.0, 300.0  # that a hostile file may take
SMALL = 2**20  # bytes; larger ones go to the decoder only
CODES = {
    "empty_file",
    "not_an_image",
    "unsupported_format",
    "truncated_image",
    "image_too_large",
    "image_too_slow",
}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


class Trial(NamedTuple):
    """What became of one file; `message` is empty where it was taken. `at_a_look`: the code by its first bytes."""

    name: str
    wanted: str
    outcome: str
    message: str
    seconds: float
    mb: float
    pid: int
    at_a_look: str | None


@pytest.fixture(scope="module")
def inspector() -> Iterator[ImageInspector]:
    inspector = ImageInspector()
    yield inspector
    inspector.close()


@pytest.fixture(scope="module")
def surveyor() -> Iterator[Surveyor]:
    surveyor = Surveyor(workers=1)
    yield surveyor
    surveyor.close()


@pytest.fixture(scope="module")
def tried(inspector: ImageInspector, surveyor: Surveyor) -> list[tuple[Trial, Hostile | None]]:
    """Every file, prepared by the same child; the smaller ones are kept."""
    return [(_try(inspector, surveyor, *file), file if len(file[1]) <= SMALL else None) for file in hostile_files()]


@pytest.fixture(scope="module")
def trials(tried: list[tuple[Trial, Hostile | None]]) -> list[Trial]:
    return [trial for trial, _ in tried]


@pytest.fixture(scope="module")
def small(tried: list[tuple[Trial, Hostile | None]]) -> list[Hostile]:
    return [file for _, file in tried if file is not None]


def _try(inspector: ImageInspector, surveyor: Surveyor, name: str, data: bytes, wanted: str) -> Trial:
    pid = pid_of(inspector)
    forget_peak(pid)
    before = usage(pid)
    try:
        info, prepared = inspector.prepare_sync(data)
        info = info if prepared is data else inspector.inspect_sync(prepared)
        outcome, message = f"{info.width}x{info.height}", ""
    except BadImage as error:
        outcome, message = error.code, error.message
    after = usage(pid) if pid_of(inspector) == pid else before._replace(pid=0)
    fault = surveyor.survey_bytes(name, data[:START_BYTES], len(data)).fault
    seconds, mb = after.cpu_s - before.cpu_s, after.peak_mb - before.mb
    return Trial(name, wanted, outcome, message, seconds, mb, after.pid, fault and fault.code)


def test_each_file_is_decoded_right_or_refused_by_the_right_code(trials: list[Trial]) -> None:
    assert [trial for trial in trials if trial.outcome != trial.wanted] == []
    assert {trial.outcome for trial in trials if trial.message} == CODES
    assert len({trial.name for trial in trials}) == len(trials) >= 400


def test_no_file_takes_long_or_much_memory_or_ends_its_decoder(trials: list[Trial]) -> None:
    slowest = max(trials, key=lambda trial: trial.seconds)
    largest = max(trials, key=lambda trial: trial.mb)
    kinds = Counter(trial.name.split()[0].strip(",") for trial in trials)
    log.info("%d files, %s", len(trials), dict(kinds.most_common(5)))
    log.info("slowest: %s, %.2f s; largest: %s, %.0f MB", slowest.name, slowest.seconds, largest.name, largest.mb)
    assert slowest.seconds < SECONDS, slowest
    assert largest.mb < MB, largest
    assert len({trial.pid for trial in trials}) == 1


def test_a_refusal_says_what_is_wrong(trials: list[Trial]) -> None:
    """In a sentence for people: no object of ours, no path, nothing that cannot be printed."""
    for trial in trials:
        if trial.message:
            assert trial.message.startswith(("the image ", "this is ", "the file is ")), trial
            assert trial.message.isprintable(), trial
            assert not any(word in trial.message for word in ("0x", "Traceback", "object at", "PIL.", "/")), trial


def test_the_beginning_of_an_object_refuses_none_that_would_be_taken(trials: list[Trial]) -> None:
    assert [trial for trial in trials if trial.at_a_look and "x" in trial.wanted] == []
    assert sum(trial.at_a_look is not None for trial in trials) > 150


@pytest.fixture(scope="module")
def folder(small: list[Hostile], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them called photos."""
    folder = tmp_path_factory.mktemp("hostile")
    for number, (_, data, wanted) in enumerate(small):
        (folder / f"{number:03}-{wanted}.jpg").write_bytes(data)
    return folder


def wanted_of(path: str | Path) -> str:
    return Path(path).stem.split("-", 1)[1]


def test_a_look_at_a_folder_refuses_none_that_would_be_taken(surveyor: Surveyor, folder: Path) -> None:
    pid = pid_of(surveyor)
    forget_peak(pid)
    idle = usage(pid).mb
    found = surveyor.survey(sorted(folder.iterdir()))
    assert usage(pid).peak_mb - idle < MB  # of the same child: /proc would not know another
    assert len(found) > 350
    assert [each.name for each in found if each.fault and "x" in wanted_of(each.name)] == []
    assert {each.fault.code for each in found if each.fault} <= CODES
    assert all(each.sha256 for each in found)


def test_a_run_over_such_a_folder_counts_every_file_once(surveyor: Surveyor, folder: Path) -> None:
    paths = sorted(folder.iterdir())
    pictures = (Photo(path, path.name) for path in paths)
    recipe, example = Recipe(Operation.ENHANCE, {}), validate(Operation.ENHANCE, {"image": "s3://photos/1.jpg"})
    with Preflight() as preflight:
        run = line_up(pictures, recipe=recipe, example=example, past=Past(None), preflight=preflight, surveyor=surveyor)
        verdicts = [verdict for group in run for verdict in group]
    counts = {kind: count.photos for kind, count in preflight.kinds.items()}
    assert sum(counts.values()) == len(verdicts) == len(paths)
    assert counts[Kind.READY] + counts[Kind.DUPLICATE] >= sum("x" in wanted_of(path) for path in paths)
    assert min(counts[kind] for kind in (Kind.CORRUPT, Kind.UNSUPPORTED, Kind.TOO_LARGE)) > 10


def test_an_upload_answers_by_the_same_code_and_the_service_goes_on(api: TestClient, small: list[Hostile]) -> None:
    tried: Counter[str] = Counter()
    for name, data, wanted in small[::-1]:
        if (tried[wanted] < 3) if "x" not in wanted else not tried[wanted]:
            tried[wanted] += 1
            answer = api.post("/v1/uploads", content=data, params={"name": name})
            told = answer.json()
            outcome = told.get("code") or f"{told['width']}x{told['height']}"
            assert (answer.status_code, outcome) == (201 if "x" in wanted else 422, wanted), name
            assert "x" in wanted or told["detail"].startswith(f"{name}: ")
    assert len(tried) > 15


def test_callers_that_wait_together_each_get_their_own_answer(inspector: ImageInspector, small: list[Hostile]) -> None:
    files = [file for file in small if len(file[1]) < 2**16][::6]

    async def run() -> list[object]:
        return await asyncio.gather(*(inspector.inspect(data) for _, data, _ in files), return_exceptions=True)

    answers = asyncio.run(run())
    told = [answer.code if isinstance(answer, BadImage) else "taken" for answer in answers]
    assert told == [wanted if "x" not in wanted else "taken" for _, _, wanted in files]


@pytest.mark.parametrize(("megapixels", "is_turned"), [(108, True), (199, False)])
def test_what_the_largest_phones_write_is_taken(inspector: ImageInspector, megapixels: int, is_turned: bool) -> None:
    """It is no bomb: it has the bytes of a photo, and gets more memory for them."""
    width, rows = 12_000, megapixels * 10**6 // 12_000 // 16
    data = phone_photo(width, rows, orientation=6 if is_turned else 1)
    assert 8 * 2**20 < len(data) < MAX_BYTES
    info = inspector.prepare_sync(data).info
    assert (info.width, info.height) == ((rows * 16, width) if is_turned else (width, rows * 16))


def phone_photo(width: int, rows: int, *, orientation: int) -> bytes:
    """A strip of 16 lines of noise, as often as there are rows: quickly made, and as much work to decode as any."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    strip = Image.effect_noise((width, 16), 12).convert("RGB")
    strip.save(file, "JPEG", quality=75, restart_marker_rows=1, exif=exif)
    data = file.getvalue()
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda") + 14
    head = data[: frame + 5] + (rows * 16).to_bytes(2, "big") + data[frame + 7 : scan]
    strips = (data[scan:-2] + bytes([0xFF, 0xD0 + number % 8]) for number in range(rows))
    return head + b"".join(strips)[:-2] + b"\xff\xd9"


def test_a_file_that_is_too_long_is_not_even_read(surveyor: Surveyor, tmp_path: Path) -> None:
    path = tmp_path / "long.jpg"
    with path.open("wb") as file:
        file.truncate(2**40)
    [found] = surveyor.survey([path])
    assert (found.fault and found.fault.code, found.sha256) == ("file_too_large", None)
