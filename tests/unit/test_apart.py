"""What is heavy leaves the event loop; what is light stays, since a thread costs more than it."""

import asyncio
import threading

import httpx
import pytest

from clients.apart import apart, weight_of
from clients.phota import PhotaClient
from clients.phota_requests import Operation, validate, with_images


@pytest.mark.parametrize(("weight", "is_here"), [(100, True), (2**21, False)])
def test_only_what_is_heavy_goes_to_a_thread(weight: int, is_here: bool) -> None:
    async def run() -> bool:
        return await apart(weight, threading.get_ident) == threading.get_ident()

    assert asyncio.run(run()) is is_here


def test_pictures_are_weighed_wherever_phota_puts_them() -> None:
    assert weight_of({"image": "x" * 7, "images": ["y" * 5, "z"], "number": 4}) == 13
    assert weight_of({"status": "done", "result": {"images": ["x" * 9], "n": None}}) == 13
    assert weight_of(None) == weight_of({"images": [1, {}]}) == 0


def test_a_request_with_large_pictures_is_sent_whole() -> None:
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return httpx.Response(200, json={"images": ["QUJD" * 2**20], "download_urls": []})

    async def run() -> list[bytes]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            params = with_images(validate(Operation.ENHANCE, {"image": "s3://photos/1.jpg"}), ["QUJD" * 2**20])
            client = PhotaClient(http, base_url="https://api/v1/phota", api_key="k")
            return (await client.call(params, client_request_id="1")).images

    assert asyncio.run(run()) == [b"ABC" * 2**20]
    assert b"QUJD" * 2**20 in sent[0]
