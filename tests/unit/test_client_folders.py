"""A folder in one call: which photos, under which names, and what becomes of those that are none."""

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photabatch import Invalid, NoPhotos, TooManyRequests, Unauthorized
from photabatch._folder import custom_id_of, find_photos
from tests.unit.client_fake import ESTIMATED, SUBMITTED, Answer, Connect, FakeApi, Seen, both, problem

NAMES = ["b.JPG", "a.png", "deep/er/c.heic", "deep/z.webp"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "Trip 7"
    for name in [*NAMES, "notes.txt", ".hidden.jpg", ".git/x.jpg", "deep/.thumbs/y.jpg", "a.jpg.part"]:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def storing(seen: Seen) -> Answer:
    """Stores what it is told, but for what begins with `b`."""
    if seen.path != "/v1/uploads":
        return ESTIMATED if seen.path == "/v1/estimates" else SUBMITTED
    if seen.body.startswith(b"b"):
        return problem(422, "unreadable_image", "This is no picture.")
    return {"image": f"s3://photabatch/{seen.body.decode()}"}


def submitted(api: FakeApi) -> list[dict[str, Any]]:
    return [json.loads(line) for line in api.seen[-1].body.splitlines()]


def test_photos_are_found_in_order(folder: Path) -> None:
    assert [photo.custom_id for photo in find_photos(folder)] == sorted(NAMES)
    assert {photo.path.read_bytes() for photo in find_photos(str(folder))} == {name.encode() for name in NAMES}


@both
def test_a_folder_is_one_call(connect: Connect, folder: Path) -> None:
    api, progress = FakeApi(by=storing), []
    with connect(api) as client:
        done = client.submit_folder(
            folder,
            "enhance",
            params={"num_output_images": 2},
            output="s3://done/",
            budget_usd=5,
            on_progress=lambda *numbers: progress.append(numbers),
        )
    assert done.batch.accepted == 3
    assert submitted(api) == [
        {
            "custom_id": name,
            "operation": "enhance",
            "output": "s3://done/",
            "params": {"num_output_images": 2, "image": f"s3://photabatch/{name}"},
        }
        for name in sorted(NAMES)
        if name != "b.JPG"
    ]
    assert api.seen[-1].query == [("budget_usd", "5"), ("name", "Trip 7"), ("skip_done", "true")]
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]


@both
def test_refused_photos_do_not_stop_the_others(connect: Connect, folder: Path) -> None:
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    with connect(FakeApi(by=storing)) as client:
        done = client.submit_folder(folder, "enhance", name="other")
    told = {refused.custom_id: (refused.path, refused.code) for refused in done.refused}
    assert told == {
        "b.JPG": (folder / "b.JPG", "unreadable_image"),
        "gone.jpg": (folder / "gone.jpg", "unreadable_file"),
    }
    assert [refused.message for refused in done.refused] == ["This is no picture.", "No such file or directory"]


@both
def test_a_photo_is_uploaded_without_its_name_so_that_no_message_repeats_it(connect: Connect, folder: Path) -> None:
    api = FakeApi(by=storing)
    with connect(api) as client:
        client.submit_folder(folder, "enhance")
    assert {tuple(seen.query) for seen in api.seen if seen.path == "/v1/uploads"} == {()}


@both
@pytest.mark.parametrize(
    ("operation", "options", "kind", "words"),
    [
        (
            "edit",
            {"prompt": "warm"},
            TypeError,
            r"unknown option prompt; an operation's own fields go into params=\{…\}",
        ),
        ("enhnce", {}, ValueError, "enhnce is no operation; one of enhance, edit, remix"),
        ("enhance", {"idempotency_key": "ü"}, ValueError, "idempotency_key"),
    ],
)
def test_a_mistake_is_told_before_anything_is_asked(
    connect: Connect, folder: Path, operation: Any, options: Any, kind: type[Exception], words: str
) -> None:
    api = FakeApi(by=storing)
    with connect(api) as client, pytest.raises(kind, match=words):
        client.submit_folder(folder, operation, **options)
    assert api.seen == []


@both
def test_a_fault_of_every_job_is_told_after_one_upload(connect: Connect, folder: Path) -> None:
    faults = [{"line": 1, "param": "params.prompt", "code": "missing", "message": "prompt: is missing"}]

    def answer(seen: Seen) -> Answer:
        return storing(seen) if seen.path == "/v1/uploads" else problem(422, "invalid_jobs", errors=faults)

    api = FakeApi(by=answer)
    with connect(api) as client, pytest.raises(Invalid, match="prompt: is missing"):
        client.submit_folder(folder, "edit", idempotency_key="k", skip_invalid=True, budget_usd=1)
    assert [seen.path for seen in api.seen] == ["/v1/uploads", "/v1/estimates"]
    assert api.seen[-1].query == [("budget_usd", "1"), ("name", "Trip 7"), ("skip_done", "true")]
    assert api.seen[-1].headers["idempotency-key"] != "k"


@both
def test_the_photo_stands_where_the_operation_takes_it(connect: Connect, folder: Path) -> None:
    api = FakeApi(by=storing)
    with connect(api) as client:
        client.submit_folder(folder, "edit", params={"prompt": "warm", "images": ["s3://photabatch/logo"]})
        assert submitted(api)[0]["params"]["images"] == ["s3://photabatch/a.png", "s3://photabatch/logo"]
        client.submit_folder(folder, "remix", params={"reference_image": "https://example.com/r.jpg"})
        assert submitted(api)[0]["params"]["input_image"] == "s3://photabatch/a.png"
        with pytest.raises(ValueError, match="generate takes no photos"):
            client.submit_folder(folder, "generate")


@both
def test_a_folder_without_photos_is_told(connect: Connect, tmp_path: Path) -> None:
    api = FakeApi(by=storing)
    with connect(api) as client:
        with pytest.raises(NoPhotos, match="no photos below"):
            client.submit_folder(tmp_path, "enhance")
        (tmp_path / "b.jpg").write_bytes(b"bad")
        with pytest.raises(NoPhotos, match=r"b\.jpg: This is no picture") as caught:
            client.submit_folder(tmp_path, "enhance")
        with pytest.raises(OSError, match="No such file"):
            client.submit_folder(tmp_path / "nowhere", "enhance")
    assert [refused.code for refused in caught.value.refused] == ["unreadable_image"]
    assert {seen.path for seen in api.seen} == {"/v1/uploads"}


@both
@pytest.mark.parametrize(
    "trouble", [problem(401, "unauthorized"), problem(429, "queue_full", headers={"Retry-After": "9999"})]
)
def test_what_is_not_about_the_photo_ends_it(connect: Connect, folder: Path, trouble: httpx.Response) -> None:
    with connect(FakeApi(by=lambda _: trouble)) as client, pytest.raises((Unauthorized, TooManyRequests)):
        client.submit_folder(folder, "enhance")


@both
def test_an_upload_is_tried_again_more_patiently(connect: Connect, folder: Path) -> None:
    lock, tries = threading.Lock(), 0

    def answer(seen: Seen) -> Answer:
        nonlocal tries
        with lock:
            tries += 1
        return problem(429, "rate_limited", headers={"Retry-After": "0"}) if tries < 40 else storing(seen)

    with connect(FakeApi(by=answer)) as client:
        assert len(client.submit_folder(folder, "enhance").refused) == 1


@both
def test_the_same_folder_again_asks_for_the_same(connect: Connect, folder: Path) -> None:
    api = FakeApi(by=storing)
    with connect(api) as client:
        for _ in range(2):
            client.submit_folder(folder, "enhance", idempotency_key="trip-7", budget_usd=1)
    first, second = (seen for seen in api.seen if seen.path == "/v1/batches")
    assert (first.body, first.query) == (second.body, second.query)


def test_a_name_that_had_to_be_changed_ends_in_a_hash() -> None:
    assert custom_id_of("deep/ü b.jpg") == "deep/ü b.jpg"
    assert custom_id_of("a\x01.jpg").startswith("a_.jpg~")
    for one, other in (("a\x01", "a\x02"), ("x" * 600 + "1", "x" * 600 + "2"), ("a\udc80", "a\udc81")):
        assert custom_id_of(one) != custom_id_of(other)


@given(st.lists(st.text(min_size=1, max_size=700), min_size=2, max_size=2, unique=True))
def test_different_names_stay_different_ids(names: list[str]) -> None:
    ids = [custom_id_of(name) for name in names]
    assert len(set(ids)) == 2
    for custom_id in ids:
        assert 1 <= len(custom_id.encode().decode()) <= 512
        assert not any(ord(letter) < 32 or ord(letter) == 127 for letter in custom_id)
