"""A watched folder on a real database and a real S3; time passes when the test says so."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine, text

from clients.image_inspector import ImageInspector
from clients.phota_requests import Operation
from clients.s3_uri import S3Uri
from models import Priority
from producer.recipes import Recipe
from producer.runs.upload import Uploader
from producer.uploads.bursts import Source
from producer.uploads.folder_results import FolderResults
from producer.uploads.folder_watch import FolderWatch, folder_id
from tests.integration import uploads as fixtures
from tests.integration.uploads import BUCKET, OWNER, Uploads, rows

s3, uploads = fixtures.s3, fixtures.uploads


def photo(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def inspector() -> Iterator[ImageInspector]:
    inspector = ImageInspector(workers=1)
    yield inspector
    inspector.close()


class Watched:
    """A folder and who watches it; `pass_by` looks again as often as it takes for files to rest."""

    def __init__(self, root: Path, engine: Engine, uploads: Uploads, inspector: ImageInspector, **fields: Any) -> None:
        self.root, self.told, self.now = root, list[str](), 0.0
        recipe = fields.pop("recipe", Recipe(Operation.ENHANCE, {}))
        uploader = fields.pop("uploader", Uploader)
        limits = {"quiet_s": 60.0, "most": 1_000, "priority": Priority.INTERACTIVE} | fields
        self.source = Source(folder_id(root), "drop", recipe, labels={"folder": str(root)}, **limits)
        self._watch = FolderWatch(
            root,
            self.source,
            engine=engine,
            uploader=uploader(uploads.storage, bucket=BUCKET, inspector=inspector),
            owner=OWNER,
            settle_s=2,
            tell=self.told.append,
        )

    def put(self, name: str, data: bytes) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_bytes(data)

    def pass_by(self, seconds: int = 3) -> int:
        return sum(self.look() for _ in range(seconds))

    def look(self) -> int:
        self.now += 1
        return self._watch.look(self.now)


Watch = Callable[..., Watched]


@pytest.fixture
def watch(tmp_path: Path, engine: Engine, uploads: Uploads, inspector: ImageInspector) -> Watch:
    """Begin to watch, as after a start of the program."""
    (tmp_path / "in").mkdir()
    return lambda **fields: Watched(tmp_path / "in", engine, uploads, inspector, **fields)


def test_photos_that_rest_are_queued_in_one_burst(watch: Watch, engine: Engine) -> None:
    watched = watch()
    watched.put("1.jpg", photo())
    watched.put("ü/my photo (1).jpg", photo("blue"))
    assert watched.pass_by() == 2
    assert rows(engine, "custom_id, state", "FROM jobs ORDER BY custom_id") == [
        ("1.jpg", "queued"),
        ("ü/my photo (1).jpg", "queued"),
    ]
    assert rows(engine, "name, metadata ->> 'folder'", "FROM batches") == [("drop", str(watched.root))]
    assert watched.told == ["1.jpg: queued", "ü/my photo (1).jpg: queued"]


def test_a_half_written_file_is_waited_for(watch: Watch, engine: Engine) -> None:
    watched, whole = watch(), photo()
    for end in (100, 200, len(whole)):
        watched.put("1.jpg", whole[:end])
        assert watched.pass_by(2) == 0, "not at rest"
    assert watched.pass_by() == 1
    assert rows(engine, "source ->> 'bytes'") == [str(len(whole))]


def test_a_file_that_stops_half_way_is_taken_when_it_is_whole(watch: Watch, engine: Engine) -> None:
    watched, whole = watch(), photo()
    watched.put("1.jpg", whole[:200])
    assert watched.pass_by(10) == 0
    watched.put("1.jpg", whole)
    assert watched.pass_by() == 1
    assert rows(engine, "state") == ["queued"]


class Disturbed(Uploader):
    """Somebody goes on writing while a photo is read."""

    def upload(self, picture: Any, recipe: Recipe, *, is_redo: bool = False) -> Any:
        made = super().upload(picture, recipe, is_redo=is_redo)
        picture.path.write_bytes(photo("green"))
        return made


def test_what_changes_while_it_is_read_is_not_taken(watch: Watch, engine: Engine) -> None:
    watched = watch(uploader=Disturbed)
    watched.put("1.jpg", photo())
    assert watched.pass_by(6) == 0


def test_what_is_no_picture_is_rejected_once(watch: Watch, engine: Engine) -> None:
    watched = watch()
    watched.put("1.jpg", b"not a picture")
    assert watched.pass_by(40) == 1
    assert watch().pass_by(40) == 0
    assert rows(engine, "custom_id, state, error_code") == [("1.jpg", "rejected", "not_an_image")]


def test_a_restart_queues_nothing_again(watch: Watch, engine: Engine) -> None:
    first = watch()
    first.put("1.jpg", photo())
    first.pass_by()
    first.put("2.jpg", photo("blue"))
    assert watch().pass_by() == 1
    assert rows(engine, "custom_id") == ["1.jpg", "2.jpg"]


def test_a_changed_file_is_another_job(watch: Watch, engine: Engine) -> None:
    watched = watch()
    for colour in ("red", "blue"):
        watched.put("1.jpg", photo(colour))
        assert watched.pass_by() == 1
    first, second = rows(engine, "custom_id")
    assert first == "1.jpg"
    assert second.startswith("1~")


def test_the_same_bytes_under_another_name_are_the_same_content(watch: Watch, engine: Engine) -> None:
    watched = watch()
    watched.put("1.jpg", photo())
    watched.put("copy.jpg", photo())
    watched.pass_by()
    assert len(set(rows(engine, "content_key"))) == 1


def test_a_burst_holds_exactly_as_many_as_it_may(watch: Watch, engine: Engine) -> None:
    watched = watch(most=3)
    for number in range(7):
        watched.put(f"{number}.jpg", photo(f"#0000{number:02d}"))
    assert watched.pass_by() == 7
    assert rows(engine, "count(*)", "FROM jobs GROUP BY batch_id ORDER BY batch_id") == [3, 3, 1]


def test_a_name_that_is_no_unicode_is_taken_too(watch: Watch, engine: Engine) -> None:
    watched = watch()
    (watched.root / "caf\udce9.jpg").write_bytes(photo())
    assert watched.pass_by() == 1
    assert rows(engine, "custom_id LIKE 'caf_~%.jpg' OR custom_id LIKE 'caf_.jpg~%'") == [True]


def test_results_are_fetched_as_they_are_done_and_once(
    watch: Watch, engine: Engine, uploads: Uploads, tmp_path: Path
) -> None:
    watched = watch()
    for name, data in (("a/1.jpg", photo()), ("2.jpg", photo("blue"))):
        watched.put(name, data)
    watched.pass_by()
    _succeed(engine, uploads, "a/1.jpg", b"finished")
    told: list[str] = []

    def results() -> FolderResults:
        tools = {"engine": engine, "storage": uploads.storage, "owner": OWNER}
        return FolderResults(watched.source, folder=tmp_path / "out", tell=told.append, **tools)

    first = results()
    assert [first.look(), first.look()] == [1, 0]
    assert (tmp_path / "out/a/1.jpg").read_bytes() == b"finished"
    with engine.begin() as connection:
        ended = "due_at = NULL, finished_at = now()"
        connection.execute(
            text(f"UPDATE jobs SET state = 'failed', error_message = 'no', {ended} WHERE due_at > '1970-01-01'")
        )
        connection.execute(text("UPDATE batches SET finished_at = now(), outcome = 'completed_with_errors'"))
    assert first.look() == 1
    assert told == [f"a/1.jpg: done, {tmp_path / 'out/a/1.jpg'}", "2.jpg: failed, no"]
    assert results().look() == 0, "after a restart too"


def _succeed(engine: Engine, uploads: Uploads, custom_id: str, data: bytes) -> None:
    uploads.s3.put_object(Bucket=BUCKET, Key=f"{uploads.prefix}result.jpg", Body=data)
    uri = S3Uri(BUCKET, f"{uploads.prefix}result.jpg")
    ended = "state = 'succeeded', due_at = NULL, finished_at = now(), cost_usd = 0.1"
    with engine.begin() as connection:
        job_id = connection.scalar(
            text(f"UPDATE jobs SET {ended} WHERE custom_id = :id RETURNING id"), {"id": custom_id}
        )
        connection.execute(
            text(
                "INSERT INTO outputs VALUES (:id, 0, :bucket, :key, 'image/jpeg', :bytes, "
                "encode(sha256(:data), 'hex'), 3, 2)"
            ),
            {"id": job_id, "bucket": uri.bucket, "key": uri.key, "bytes": len(data), "data": data},
        )
