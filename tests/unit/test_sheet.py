"""The contact sheet: what is on it, what must never be, and what it does without a picture."""

import base64
import hashlib
import io
import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pillow_heif
import pytest
from PIL import Image

from clients.s3_objects import ObjectInfo
from clients.storage import ObjectMissing, Storage, StorageUnavailable
from models.progress import BatchView
from models.results import JobResult
from models.states import BatchStatus, JobState
from producer.results.sheet import write_sheet
from producer.results.thumbnail import make_thumbnail

NOW = datetime(2026, 5, 14, 18, 5, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'&$rows"


class Bucket(dict[str, bytes]):
    """Storage as far as a sheet needs it."""

    def head(self, bucket: str, key: str, *, version_id: str | None = None) -> ObjectInfo | None:
        data = self.get(bucket, key, max_bytes=2**20)
        return ObjectInfo(bucket, key, len(data), f'"{hashlib.md5(data).hexdigest()}"', None)

    def get(  # type: ignore[override]
        self, bucket: str, key: str, *, max_bytes: int, version_id: str | None = None
    ) -> bytes:
        if key == "down":
            raise StorageUnavailable("no answer")
        if key not in self:
            raise ObjectMissing(key)
        return self[key]


def picture(width: int = 80, height: int = 60, *, kind: str = "JPEG", mode: str = "RGB", **options: Any) -> bytes:
    pillow_heif.register_heif_opener(thumbnails=False)
    file = io.BytesIO()
    Image.new(mode, (width, height), 90 if mode == "P" else "teal").save(file, kind, **options)
    return file.getvalue()


def output(data: bytes, *, key: str = "a.jpg", index: int = 0) -> dict[str, Any]:
    facts = {"index": index, "bucket": "b", "key": key, "bytes": len(data), "width": 80, "height": 60}
    return facts | {"content_type": "image/jpeg", "sha256": hashlib.sha256(data).hexdigest()}


def source(path: Path, data: bytes) -> dict[str, Any]:
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return {"path": str(path), "bytes": len(data), "sha256": sha256, "width": 80, "height": 60}


JOB = JobResult(
    id=uuid.UUID(int=7),
    custom_id="trip/1.jpg",
    operation="enhance",
    state=JobState.SUCCEEDED,
    cost_usd=Decimal("0.1200"),
    known_subjects=None,
    source=None,
    error_code=None,
    error_message=None,
    created_at=NOW,
    finished_at=NOW,
    outputs=[],
)
BATCH = BatchView(
    id=uuid.UUID(int=1),
    name="Trip",
    slug="trip",
    status=BatchStatus.COMPLETED_WITH_ERRORS,
    paused_reason=None,
    counts={state.value: 0 for state in JobState} | {"succeeded": 3, "total": 3},
    estimated_usd=Decimal(1),
    reserved_usd=Decimal(0),
    spent_usd=Decimal("0.36"),
    budget_usd=None,
    window=None,
    deadline=None,
    max_failure_rate=None,
    forecast=None,
    waiting=None,
    errors=[],
    metadata={},
    created_at=NOW,
    started_at=NOW,
    finished_at=NOW,
)


def sheet(
    folder: Path, *jobs: JobResult, batch: BatchView = BATCH, bucket: Bucket | None = None, **options: Any
) -> str:
    path = folder / "sheet.html"
    storage = cast(Storage, bucket if bucket is not None else Bucket({"a.jpg": picture()}))
    write_sheet(path, batch=batch, jobs=jobs, storage=storage, **{"is_simulated": False} | options)
    return path.read_text("utf-8")


def test_before_and_after_stand_in_one_row(tmp_path: Path) -> None:
    job = replace(JOB, source=source(tmp_path / "1.jpg", picture()), outputs=[output(picture())])
    page = sheet(tmp_path, job)
    assert page.count("data:image/jpeg;base64,") == 2
    assert page.count('class="wipe"') == 1
    for text in ("<b>Before</b> <span>80 × 60</span>", "→ 80 × 60", "$0.12", "completed with errors", "14 May 2026"):
        assert text in page


def test_what_was_simulated_is_marked(tmp_path: Path) -> None:
    job = replace(JOB, outputs=[output(picture())])
    assert "nothing was really charged" not in sheet(tmp_path, job)
    assert "completed with errors · simulated Phota: nothing was really charged" in sheet(
        tmp_path, job, is_simulated=True
    )


def test_an_original_in_a_bucket_is_shown_while_it_is_the_same(tmp_path: Path) -> None:
    data = picture()
    facts = {"path": "s3://photos/a.jpg", "bytes": len(data), "etag": hashlib.md5(data).hexdigest()}
    job = replace(JOB, source=facts, outputs=[output(data)])
    assert sheet(tmp_path, job).count("data:image/jpeg;base64,") == 2
    changed = replace(job, source=facts | {"etag": "another"})
    assert sheet(tmp_path, changed).count("data:image/jpeg;base64,") == 1


def test_several_outputs_stand_side_by_side(tmp_path: Path) -> None:
    job = replace(JOB, operation="generate", outputs=[output(picture(), index=index) for index in range(4)])
    page = sheet(tmp_path, job)
    assert [f"Result {number}</b>" in page for number in (1, 2, 3, 4, 5)] == [True] * 4 + [False]
    assert 'class="before"' not in page


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    page = sheet(tmp_path, replace(JOB, outputs=[output(picture())]))
    assert not re.search(r"https?://|url\(|@import|<link|<iframe", page)
    assert "default-src 'none'" in page
    nonce = re.search(r"'nonce-([^']+)'", page)
    assert nonce
    assert f'<script nonce="{nonce[1]}">' in page


def test_what_strangers_wrote_is_escaped(tmp_path: Path) -> None:
    job = replace(JOB, custom_id=HOSTILE, state=JobState.FAILED, error_code=HOSTILE, error_message=HOSTILE)
    page = sheet(tmp_path, job, batch=replace(BATCH, name=HOSTILE))
    assert page.count("<script") == 1
    assert page.count("&lt;script&gt;alert(1)&lt;") == 5  # title, heading, name, message, code


def test_a_rejected_job_tells_why(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(picture())
    refused = {"path": str(tmp_path / "1.jpg")}  # no checksum: it never passed the inspection
    job = replace(JOB, state=JobState.REJECTED, source=refused, error_code="image_too_slow", error_message="x" * 900)
    page = sheet(tmp_path, job)
    assert "<code>image_too_slow</code>" in page
    assert "x" * 399 + "…" in page
    assert "data:image/jpeg" not in page


def test_an_original_that_is_gone_or_changed_is_not_shown(tmp_path: Path) -> None:
    gone, changed = source(tmp_path / "1.jpg", picture()), source(tmp_path / "2.jpg", picture())
    (tmp_path / "1.jpg").unlink()
    (tmp_path / "2.jpg").write_bytes(picture(81))
    page = sheet(tmp_path, *(replace(JOB, source=each, outputs=[output(picture())]) for each in (gone, changed)))
    assert 'class="before"' not in page
    assert page.count("80 × 60 → 80 × 60") == 2


def test_what_cannot_be_shown_leaves_a_placeholder(tmp_path: Path) -> None:
    broken = b"\xff\xd8\xffbroken"
    bucket = Bucket({"broken": broken, "other": picture()})
    outputs = [output(broken, key="broken"), output(broken, key="other"), output(broken, key="missing")]
    page = sheet(tmp_path, replace(JOB, source=source(tmp_path / "1.jpg", broken), outputs=outputs), bucket=bucket)
    assert page.count("This picture cannot be decoded.") == 2
    assert page.count("The bucket holds other bytes by now.") == 1
    assert page.count("No longer in the bucket.") == 1


@pytest.mark.parametrize(("limit", "cuts"), [(3, 0), (2, 2)])
def test_a_long_batch_is_cut_and_says_so(tmp_path: Path, limit: int, cuts: int) -> None:
    page = sheet(tmp_path, JOB, JOB, JOB, limit=limit)
    assert page.count("<article") == limit
    assert page.count(f"Only the first {limit} of 3 finished jobs are shown.") == cuts  # at either end


def test_rows_keep_the_order_of_jobs(tmp_path: Path) -> None:
    page = sheet(tmp_path, *(replace(JOB, custom_id=f"job-{number}", source=None) for number in range(20)))
    assert re.findall(r"<bdi>(job-\d+)</bdi>", page) == [f"job-{number}" for number in range(20)]
    assert "No job has finished yet." in sheet(tmp_path)


def test_storage_that_is_down_leaves_the_last_sheet_alone(tmp_path: Path) -> None:
    first = sheet(tmp_path, JOB)
    with pytest.raises(StorageUnavailable):
        sheet(tmp_path, JOB, replace(JOB, outputs=[output(b"", key="down")]))
    assert [each.name for each in tmp_path.iterdir()] == ["sheet.html"]
    assert (tmp_path / "sheet.html").read_text("utf-8") == first


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGB"), ("HEIF", "RGB")]
)
def test_every_kind_of_picture_becomes_a_small_jpeg(kind: str, mode: str) -> None:
    thumbnail = make_thumbnail(picture(1600, 800, kind=kind, mode=mode))
    assert thumbnail
    assert (thumbnail.width, thumbnail.height) == (1600, 800)
    assert decoded(thumbnail.data_uri).size == (640, 320)


def test_a_thumbnail_is_upright_and_tells_no_place() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    thumbnail = make_thumbnail(picture(exif=exif, comment=b"private", icc_profile=b"profile"))
    assert thumbnail
    assert (thumbnail.width, thumbnail.height) == (60, 80)
    small = decoded(thumbnail.data_uri)
    assert small.size == (60, 80)
    assert not small.getexif()
    assert small.info.get("icc_profile") == b"profile"
    assert "comment" not in small.info


def decoded(data_uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data_uri.partition(",")[2])))
