"""The simulated Phota API over real HTTP, in a process of its own."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import ImageStat

from tests.integration.phota_process import (
    V1,
    image_of,
    ledger,
    opened,
    picture,
    post,
    post_async,
    receiving,
    running,
    talking,
    tell,
    wait,
)


@pytest.fixture(scope="module")
def root() -> Iterator[str]:
    with running() as (address, _):
        yield address


@pytest.fixture
def api(root: str) -> Iterator[httpx.Client]:
    with talking(root) as client:
        yield client


def test_an_async_job_ends_with_a_picture_that_needs_no_key(api: httpx.Client) -> None:
    answer = post_async(api)
    assert answer.status_code == 202
    assert answer.json()["poll_url"] == f"{V1}/jobs/{answer.json()['job_id']}"
    job = wait(api, answer.json()["job_id"])
    assert job["error"] is None
    data = httpx.get(job["result"]["download_urls"][0], trust_env=False)
    assert (data.headers["content-type"], opened(data.content).size) == ("image/jpeg", (1024, 1024))


def test_the_same_request_id_is_one_job_and_one_charge(api: httpx.Client) -> None:
    ids = {post_async(api, client_request_id="r-1").json()["job_id"] for _ in range(5)}
    assert len(ids) == 1
    wait(api, ids.pop())
    post_async(api, client_request_id="r-1")
    assert [charge["client_request_id"] for charge in ledger(api)["charges"]] == ["r-1"]


def test_a_synchronous_call_repeated_under_its_id_is_charged_once(api: httpx.Client) -> None:
    first, second = (post(api, client_request_id="r-2") for _ in range(2))
    assert first.json()["images"] == second.json()["images"]
    assert ledger(api)["totals"] == {"charges": 1, "outputs": 1, "cost_usd": 0.09}


def test_another_payload_under_a_known_id_is_a_conflict(api: httpx.Client) -> None:
    post_async(api, client_request_id="r-3")
    assert post_async(api, client_request_id="r-3", prompt="something else").status_code == 409


def test_a_new_signature_on_the_same_url_is_the_same_payload(api: httpx.Client) -> None:
    urls = [f"http://127.0.0.1:1/a.jpg?signature={n}" for n in range(2)]
    ids = {post_async(api, "enhance", image=url, client_request_id="r-4").json()["job_id"] for url in urls}
    assert len(ids) == 1


def test_sync_urls_mode_gives_links_and_no_bytes(api: httpx.Client) -> None:
    result = post(api, response_mode="urls", num_output_images=2).json()
    assert result["images"] == []
    assert len({httpx.get(url, trust_env=False).content for url in result["download_urls"]}) == 2


def test_an_order_beyond_the_credit_is_refused(api: httpx.Client) -> None:
    tell(api, credit=0.10)
    assert post(api).status_code == 200
    assert post(api).status_code == 402
    tell(api, credit=5)
    assert post(api).status_code == 200
    assert ledger(api)["balance_usd"] == pytest.approx(4.91)


def test_credit_is_reserved_while_a_job_runs(api: httpx.Client) -> None:
    tell(api, credit=0.10, latency="5")
    assert [post_async(api).status_code for _ in range(2)] == [202, 402]


@pytest.mark.parametrize("status", [429, 503])
def test_the_hidden_limit_throttles(api: httpx.Client, status: int) -> None:
    tell(api, limit=2, latency="5", limit_status=status, retry_after_s=7)
    answers = [post_async(api) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, status]
    assert answers[2].headers["retry-after"] == "7"
    assert (ledger(api)["throttled"], ledger(api)["max_in_flight"]) == (1, 2)


def test_keys_are_asked_for_and_compared(api: httpx.Client, root: str) -> None:
    missing = httpx.get(f"{root}{V1}/webhook-secret", trust_env=False)
    assert missing.status_code == 403
    assert missing.json()["request_id"] == missing.headers["x-request-id"]
    tell(api, key="right")
    assert post(api).status_code == 401
    assert api.get(f"{V1}/webhook-secret", headers={"X-API-Key": "right"}).status_code == 200


def test_moderation_blocks_and_costs_nothing(api: httpx.Client) -> None:
    answer = post(api, prompt="something Forbidden")
    assert (answer.status_code, answer.json()["code"]) == (400, "CONTENT_MODERATION")
    assert ledger(api)["charges"] == []


@pytest.mark.parametrize(
    ("status", "operation", "body"),
    [
        (422, "generate", {"images": ["https://example.com/1.jpg"]}),
        (422, "generate", {"profile_ids": ["abc123"]}),
        (422, "generate", {"num_output_images": 5}),
        (422, "generate", {"resolution": "8K"}),
        (422, "generate", {"pro_mode": True}),
        (422, "edit", {"images": ["https://example.com/1.jpg"] * 11}),
        (422, "enhance", {"image": "https://example.com/1.jpg", "base_model": "nb2"}),
        (422, "remix", {"input_image": "https://example.com/1.jpg"}),
        (400, "generate", {"quality": "high"}),
        (400, "generate", {"base_model": "reve", "resolution": "2K"}),
        (400, "generate", {"async": True}),
        (400, "generate", {"callback_url": "https://example.com/"}),
        (404, "generate", {"prompt": "a portrait of [[nobody]]"}),
        (400, "enhance", {"image": base64.b64encode(b"no picture at all").decode()}),
        (400, "enhance", {"image": base64.b64encode(b"\xff\xd8\xff but then no picture").decode()}),
        (400, "enhance", {"image": "http://127.0.0.1:1/nothing.jpg"}),
    ],
)
def test_bad_requests_are_told_apart(api: httpx.Client, status: int, operation: str, body: dict[str, Any]) -> None:
    assert post(api, operation, **body).status_code == status
    assert ledger(api)["charges"] == []


def test_a_broken_input_fails_the_async_job(api: httpx.Client) -> None:
    broken = base64.b64encode(b"\xff\xd8\xff but then no picture").decode()
    job = wait(api, post_async(api, "enhance", image=broken).json()["job_id"])
    assert (job["status"], job["result"], job["error"]["code"]) == ("failed", None, "INVALID_IMAGE")


def test_enhance_turns_a_photo_upright_at_2k(api: httpx.Client) -> None:
    assert image_of(post(api, "enhance", image=picture(orientation=6))).size == (1365, 2048)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "HEIF"])
def test_every_documented_input_format_is_read(api: httpx.Client, form: str) -> None:
    assert post(api, "enhance", image=picture(form=form)).status_code == 200


def test_an_output_is_made_from_its_own_input(api: httpx.Client) -> None:
    red, blue = (image_of(post(api, "enhance", image=picture(colour))) for colour in ("#b02020", "#2020b0"))
    assert ImageStat.Stat(red).mean[0] > ImageStat.Stat(blue).mean[0] + 80


@pytest.mark.parametrize(
    ("resolution", "ratio", "size"),
    [
        ("1K", "16:9", (1024, 576)),
        ("2K", "3:4", (1536, 2048)),
        ("4K", "1:1", (4096, 4096)),
        ("1K", "auto", (1024, 683)),
    ],
)
def test_resolution_and_ratio_are_honoured(
    api: httpx.Client, resolution: str, ratio: str, size: tuple[int, int]
) -> None:
    answer = post(api, "edit", images=[picture()], resolution=resolution, aspect_ratio=ratio, output_format="png")
    assert (image_of(answer).size, image_of(answer).format) == (size, "PNG")


def test_remix_keeps_the_shape_of_its_content(api: httpx.Client) -> None:
    required = {"num_output_images": 1, "output_format": "jpg", "response_mode": "bytes"}
    answer = post(api, "remix", input_image=picture(), reference_image=picture("navy"), **required)
    assert image_of(answer).size == (2048, 1365)


def test_inputs_are_fetched_from_urls(api: httpx.Client) -> None:
    source = post(api, response_mode="urls").json()["download_urls"][0]
    assert image_of(post(api, "enhance", image=source)).size == (2048, 2048)


def test_an_expired_link_is_refused_and_a_poll_gives_a_fresh_one(api: httpx.Client) -> None:
    tell(api, url_ttl_s=-1)
    job_id = post_async(api).json()["job_id"]
    assert api.get(wait(api, job_id)["result"]["download_urls"][0]).status_code == 403
    tell(api, url_ttl_s=60)
    assert api.get(wait(api, job_id)["result"]["download_urls"][0]).status_code == 200


def test_a_profile_seen_in_the_outputs_raises_the_price(api: httpx.Client) -> None:
    answer = post(api, "enhance", image=picture(), profile_ids=["abc123"], num_output_images=2)
    assert answer.json()["known_subjects"] == {"counts": {"abc123": 2}}
    tell(api, recognition=0)
    assert post(api, "enhance", image=picture(), profile_ids=["abc123"]).json()["known_subjects"] == {"counts": {}}
    assert [charge["cost_usd"] for charge in ledger(api)["charges"]] == [0.30, 0.12]


def test_a_profile_is_trained_used_and_deleted(api: httpx.Client) -> None:
    tell(api, training_s=0.2)
    urls = [f"https://example.com/{n}.jpg" for n in range(10)]
    name = api.post(f"{V1}/profiles/add", json={"image_urls": urls, "tag": "ann"}).json()["profile_id"]
    assert post(api, prompt=f"[[{name}]]").status_code == 400
    time.sleep(0.25)
    assert api.get(f"{V1}/profiles/{name}/status").json()["status"] == "READY"
    assert [one["profile_id"] for one in api.get(f"{V1}/profiles/ids?tag=ann").json()["profiles"]] == [name]
    assert opened(api.get(f"{V1}/profiles/{name}/profile_picture").content).format == "JPEG"
    assert api.delete(f"{V1}/profiles/{name}").json()["status"] == "ok"
    assert (api.get(f"{V1}/profiles/{name}/status").status_code, ledger(api)["totals"]["cost_usd"]) == (404, 2.90)


def test_a_callback_is_signed_with_the_secret(api: httpx.Client) -> None:
    with receiving() as (url, received):
        job_id = post_async(api, callback_url=url).json()["job_id"]
        wait(api, job_id)
        body, signature = received()
    secret = api.get(f"{V1}/webhook-secret").json()["secret"]
    assert signature == hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert (json.loads(body)["job_id"], json.loads(body)["status"]) == (job_id, "succeeded")
