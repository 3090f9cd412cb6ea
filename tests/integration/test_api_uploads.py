"""Photos over HTTP: looked at, turned upright, stored once in the folder of their account."""

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image
from sqlalchemy import Engine
from starlette.testclient import TestClient

from clients.images import MAX_BYTES
from clients.s3_uri import S3Uri
from tests.integration.api_fixtures import client_of, key_of, new_account


def photo(size: tuple[int, int] = (40, 30), *, orientation: int = 1, colour: str = "red") -> bytes:
    image, file = Image.new("RGB", size, colour), io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(file, "JPEG", exif=exif)
    return file.getvalue()


def upload(api: httpx.Client, content: bytes | Iterator[bytes], **params: str) -> httpx.Response:
    return api.post("/v1/uploads", content=content, params=params)


def stored(app: FastAPI, answer: dict[str, Any]) -> bytes:
    uri = S3Uri.parse(answer["image"])
    data: bytes = app.state.storage.get(uri.bucket, uri.key, max_bytes=MAX_BYTES)
    return data


def test_a_photo_is_stored_under_its_content_and_a_job_can_name_it(api: TestClient, api_app: FastAPI) -> None:
    data = photo()
    answer = upload(api, data, name="trip/1.jpg")
    sha256 = hashlib.sha256(data).hexdigest()
    assert answer.status_code == 201, answer.text
    assert answer.json() == {
        "image": f"s3://photabatch/inputs/{sha256}.jpg",
        "sha256": sha256,
        "bytes": len(data),
        "width": 40,
        "height": 30,
        "content_type": "image/jpeg",
    }
    assert stored(api_app, answer.json()) == data
    job = {"operation": "enhance", "params": {"image": answer.json()["image"]}}
    assert api.post("/v1/jobs", json=job).status_code == 202


def test_a_photo_on_its_side_is_turned_upright(api: TestClient, api_app: FastAPI) -> None:
    answer = upload(api, photo(orientation=6)).json()
    assert (answer["width"], answer["height"]) == (30, 40)
    data = stored(api_app, answer)
    assert Image.open(io.BytesIO(data)).size == (30, 40)
    assert (answer["sha256"], answer["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))


def test_the_same_photo_twice_is_one_object(api: TestClient) -> None:
    data = photo(colour="blue")
    assert upload(api, data).json() == upload(api, iter([data[:100], data[100:]])).json()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"not a picture", "not_an_image"),
        (b"GIF89a" + b"\0" * 50, "unsupported_format"),
        (photo()[:200], "truncated_image"),
    ],
)
def test_a_bad_picture_is_refused_by_the_readers_code(api: TestClient, content: bytes, code: str) -> None:
    answer = upload(api, content, name="trip/2.jpg")
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["detail"].startswith("trip/2.jpg: ")


def test_a_photo_beyond_the_limit_is_refused(api: TestClient) -> None:
    piece = bytes(2**20)
    answer = upload(api, (piece for _ in range(MAX_BYTES // 2**20 + 1)))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_form_is_refused_with_the_right_way(api: TestClient) -> None:
    answer = api.post("/v1/uploads", files={"photo": photo()})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "--data-binary" in answer.json()["detail"]


def test_an_account_uploads_into_its_own_folder_and_nobody_elses_jobs_reach_it(api: TestClient, engine: Engine) -> None:
    accounts = [new_account(engine, name, s3_prefixes=()) for name in ("one", "two")]
    clients = [client_of(api, key_of(engine, account)) for account in accounts]
    image = upload(clients[0], photo()).json()["image"]
    assert image.startswith(f"s3://photabatch/accounts/{accounts[0].id}/inputs/")
    job = {"operation": "enhance", "params": {"image": image}}
    assert [client.post("/v1/jobs", json=job).status_code for client in clients] == [202, 422]


def test_reading_alone_does_not_upload(read_only_api: TestClient) -> None:
    assert upload(read_only_api, photo()).status_code == 403
