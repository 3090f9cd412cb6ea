"""The dashboard: who is let in, what its page may do, and that names of batches stay text."""

import base64
import hashlib
import html
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from models.states import Scope
from producer.batches import open_batch
from producer.submission import insert
from tests.integration.api_fixtures import OPERATOR, client_of, key_of, new_account
from tests.integration.conftest import photo

PAGE = (Path(__file__).parents[2] / "api/dashboard.html").read_text()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MARK = "Simulated Phota: nothing is really charged"
TRAP = "<img src=x onerror=\"document.title='caught'\">"


def test_a_browser_is_asked_for_a_key_here_and_nowhere_else(api: TestClient) -> None:
    stranger = TestClient(api.app)
    assert stranger.get("/").status_code == 401
    assert stranger.get("/").headers["www-authenticate"] == 'Basic realm="photabatch", charset="UTF-8"'
    assert stranger.get("/v1/batches").headers["www-authenticate"] == "Bearer"


def test_the_key_is_the_password(api: TestClient, engine: Engine) -> None:
    browser = TestClient(api.app)
    answer = browser.get("/", auth=("anybody", key_of(engine, OPERATOR, [Scope.READ])))
    assert (answer.status_code, PAGE.partition("<body>")[0] in answer.text) == (200, True)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"


def test_it_names_the_account_it_shows(api: TestClient, second_api: TestClient) -> None:
    assert ">account default</span>" in api.get("/").text
    assert ">account second</span>" in second_api.get("/").text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "</style>", "<!-- mark -->", "\"'&amp;\\1"])
def test_the_name_of_an_account_stays_text(api: TestClient, engine: Engine, name: str) -> None:
    shown = client_of(api, key_of(engine, new_account(engine, name))).get("/").text
    assert f">account {html.escape(name)}</span>" in shown
    assert shown.count("<script>") == shown.count("</style>") == 1
    assert shown.count(MARK) == 1


def test_only_the_simulation_is_marked(api: TestClient, api_app: FastAPI) -> None:
    assert MARK in api.get("/").text
    api_app.state.settings = api_app.state.settings.model_copy(update={"phota_api_key": SecretStr("real")})
    assert MARK not in api.get("/").text


def test_it_wants_a_key_that_may_read(api: TestClient, engine: Engine) -> None:
    assert client_of(api, key_of(engine, OPERATOR, [Scope.SUBMIT])).get("/").status_code == 403


@pytest.mark.parametrize("tag", ["script", "style"])
def test_only_the_pages_own_code_may_run(api: TestClient, tag: str) -> None:
    policy = api.get("/").headers["content-security-policy"]
    inline = re.findall(rf"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
    assert f"{tag}-src 'sha256-{digest}'" in policy
    assert len(inline) == 1
    assert "unsafe" not in policy


def test_pictures_come_from_the_storage_alone(api: TestClient, api_app: FastAPI) -> None:
    sources = api.get("/").headers["content-security-policy"].rpartition("img-src ")[2]
    assert sources == f"data: {api_app.state.settings.s3_endpoint_url}"


@pytest.mark.parametrize(
    ("endpoint", "sources"),
    [
        (None, "data: https://*.amazonaws.com"),
        ("", "data: https://*.amazonaws.com"),
        ("http://s3:8333", "data: http://s3:8333 http://*.s3:8333"),
        ("https://s3.example.com/base", "data: https://s3.example.com https://*.s3.example.com"),
        ("http://[::1]:9000", "data: http://[::1]:9000"),
    ],
)
def test_every_kind_of_storage_is_let_in(api: TestClient, api_app: FastAPI, endpoint: str | None, sources: str) -> None:
    api_app.state.settings = api_app.state.settings.model_copy(update={"s3_endpoint_url": endpoint})
    assert api.get("/").headers["content-security-policy"].rpartition("img-src ")[2] == sources


def test_the_page_never_makes_markup_of_text() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|srcdoc", PAGE)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    body = PAGE.replace("http://www.w3.org/2000/svg", "")  # the name of a namespace
    assert not re.search(r"https?://(?!user:key@host)[a-z]|@import|src=\"|url\(", body)


def hostile_batch(engine: Engine) -> None:
    """One that has ended: a page that follows one would never come to rest."""
    ended = "due_at = NULL, finished_at = now()"
    failed = "state = 'failed', error_code = 'timeout', error_message = :trap"
    with engine.begin() as connection:
        batch = open_batch(connection, TRAP, metadata={"x": TRAP})
        insert(connection, [photo(TRAP), photo("b")], batch=batch)
        connection.execute(text(f"UPDATE jobs SET {failed}, {ended} WHERE custom_id = 'b'"), {"trap": TRAP})
        connection.execute(text(f"UPDATE jobs SET state = 'succeeded', cost_usd = 0.1, {ended} WHERE state = 'queued'"))
        connection.execute(text("UPDATE batches SET finished_at = now(), outcome = 'completed_with_errors'"))


def in_a_browser(api: httpx.Client, profile: Path) -> str:
    """The page as it stands once it has asked for everything."""
    key = api.headers["authorization"].removeprefix("Bearer ")
    url = str(api.base_url.copy_with(username="x", password=key))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    argv = [str(CHROMIUM), *options, "--window-size=1400,900", "--virtual-time-budget=4000", "--dump-dom", url]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_half_that_failed_is_told(live_api: httpx.Client, engine: Engine, tmp_path: Path) -> None:
    hostile_batch(engine)
    shown = in_a_browser(live_api, tmp_path)
    assert "<dt>Succeeded</dt><dd>1 of 2</dd>" in shown
    assert '<dt>Failed</dt><dd title="1 failed" class="wrong">1</dd>' in shown
    assert '<span class="quiet amount">2 jobs</span>' in shown


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_what_others_wrote_is_shown_as_it_is(live_api: httpx.Client, engine: Engine, tmp_path: Path) -> None:
    hostile_batch(engine)
    shown = in_a_browser(live_api, tmp_path)
    for place in ("<h1>", '<div class="quiet">', '<span class="stem">', '<span class="name" [^>]*>'):
        assert re.search(place + "&lt;img src=x onerror=", shown), place
    assert "<img src=" not in shown.replace('<img src="http', "")
    assert "<title>caught" not in shown
