"""Faults on demand of the simulated Phota API, and what it keeps over a restart."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, UnidentifiedImageError

from tests.integration.phota_process import V1, ledger, opened, picture, post, post_async, running, talking, tell, wait


@pytest.fixture(scope="module")
def root() -> Iterator[str]:
    with running() as (address, _):
        yield address


@pytest.fixture
def api(root: str) -> Iterator[httpx.Client]:
    with talking(root) as client:
        yield client


def fault(api: httpx.Client, match: str, kind: str, **more: Any) -> None:
    tell(api, faults=[{"match": match, "fault": kind, "times": 1} | more])


def link(api: httpx.Client) -> str:
    url: str = wait(api, post_async(api).json()["job_id"])["result"]["download_urls"][0]
    return url


@pytest.mark.parametrize("status", ["429", "500", "502", "503", "504"])
def test_a_status_fault_strikes_as_often_as_told(api: httpx.Client, status: str) -> None:
    fault(api, "submit", status, retry_after_s=3)
    struck = post_async(api)
    assert struck.status_code == int(status)
    assert struck.headers.get("retry-after") == ("3" if status in ("429", "503") else None)
    assert post_async(api).status_code == 202


def test_a_reset_before_acceptance_leaves_no_job(api: httpx.Client) -> None:
    fault(api, "submit", "reset")
    with pytest.raises(httpx.TransportError):
        post_async(api)
    assert api.get("/_sim/jobs").json()["jobs"] == []


@pytest.mark.parametrize("kind", ["reset_after", "hang_after"])
def test_an_accepted_job_whose_answer_is_lost_is_charged_once(api: httpx.Client, kind: str) -> None:
    fault(api, "submit", kind, seconds=0.1)
    with pytest.raises(httpx.TransportError):
        post_async(api, client_request_id="lost")
    wait(api, post_async(api, client_request_id="lost").json()["job_id"])
    assert ledger(api)["totals"]["charges"] == 1


def test_a_hanging_poll_outlasts_the_clients_patience(api: httpx.Client) -> None:
    fault(api, "poll", "hang", seconds=5)
    with pytest.raises(httpx.ReadTimeout):
        api.get(f"{V1}/jobs/any", timeout=0.2)


def test_a_slow_answer_drips(api: httpx.Client) -> None:
    url = link(api)
    fault(api, "download", "slow", seconds=0.4)
    started = time.monotonic()
    opened(api.get(url).content)
    assert time.monotonic() - started > 0.35


def test_a_truncated_answer_breaks_off(api: httpx.Client) -> None:
    url = link(api)
    fault(api, "download", "truncate")
    with pytest.raises(httpx.RemoteProtocolError):
        api.get(url)


def test_a_picture_of_the_wrong_length_arrives_in_good_order_and_does_not_decode(api: httpx.Client) -> None:
    url = link(api)
    fault(api, "download", "wrong_length")
    with pytest.raises(OSError, match="truncated"):
        opened(api.get(url).content)


@pytest.mark.parametrize("kind", ["bad_json", "html"])
def test_an_answer_may_not_be_json(api: httpx.Client, kind: str) -> None:
    fault(api, "poll", kind)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        api.get(f"{V1}/jobs/any").json()


def test_a_download_may_not_be_a_picture(api: httpx.Client) -> None:
    url = link(api)
    fault(api, "download", "not_an_image")
    with pytest.raises(UnidentifiedImageError):
        opened(api.get(url).content)


def test_a_download_may_be_the_picture_of_another_job(api: httpx.Client) -> None:
    other, url = link(api), wait(api, post_async(api, prompt="dunes").json()["job_id"])["result"]["download_urls"][0]
    fault(api, "download", "other_image")
    assert api.get(url).content == api.get(other).content != api.get(url).content


def test_a_link_may_be_called_expired(api: httpx.Client) -> None:
    url = link(api)
    fault(api, "download", "expired")
    assert [api.get(url).status_code for _ in range(2)] == [403, 200]


def test_a_job_that_is_made_to_fail_costs_nothing(api: httpx.Client) -> None:
    fault(api, "job", "fail", code="CONTENT_MODERATION")
    job = wait(api, post_async(api).json()["job_id"])
    assert (job["status"], job["error"]["code"]) == ("failed", "CONTENT_MODERATION")
    assert ledger(api)["totals"]["charges"] == 0


def test_a_synchronous_call_past_its_limit_is_refunded(api: httpx.Client) -> None:
    tell(api, latency="5", sync_limit_s=0.1, credit=0.09)
    assert post(api, client_request_id="late").status_code == 504
    tell(api, latency="0.02", sync_limit_s=60)
    assert post(api, client_request_id="late").status_code == 200


def test_a_rate_strikes_its_share(api: httpx.Client) -> None:
    tell(api, faults=[{"match": "poll", "fault": "500", "rate": 0.5}])
    struck = sum(api.get(f"{V1}/jobs/any").status_code == 500 for _ in range(100))
    assert 30 < struck < 70


def test_a_wrong_configuration_is_refused(api: httpx.Client) -> None:
    for patch in ({"latency": "soon"}, {"limits": 3}, {"faults": [{"fault": "418"}]}):
        assert api.post("/_sim/config", json=patch).status_code == 422


def test_what_was_paid_for_outlives_a_kill(tmp_path: Path) -> None:
    with running("--data", str(tmp_path), "--credit", "1") as (address, _), talking(address) as api:
        done = post_async(api, client_request_id="done").json()["job_id"]
        wait(api, done)
        tell(api, latency="0.5")
        unfinished = post_async(api, "enhance", image=picture(), client_request_id="half").json()["job_id"]
    with (
        running("--data", str(tmp_path), "--credit", "1") as (address, _),
        httpx.Client(base_url=address, headers={"X-API-Key": "any"}, trust_env=False) as api,
    ):
        assert post_async(api, client_request_id="done").json()["job_id"] == done
        results = [wait(api, job_id)["result"]["download_urls"][0] for job_id in (done, unfinished)]
        assert all(isinstance(opened(api.get(url).content), Image.Image) for url in results)
        assert (ledger(api)["totals"]["charges"], ledger(api)["balance_usd"]) == (2, pytest.approx(0.79))


def test_benchmark_mode_answers_with_pictures_of_the_size_asked_for() -> None:
    with running("--bytes", "300000") as (address, _), talking(address) as api:
        pictures = [api.get(link(api)).content for _ in range(2)]
        assert all(300_000 <= len(data) < 300_100 for data in pictures), "and a comment with the name of its job"
        assert [opened(data).format for data in pictures] == ["JPEG", "JPEG"]
