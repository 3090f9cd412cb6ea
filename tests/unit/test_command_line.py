"""What the command line refuses, before anything is started."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import main
from settings import get_settings

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `photabatch …` in this process; its exit code and what it told people."""

    def once(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["photabatch", *words])
        monkeypatch.chdir(tmp_path)
        get_settings.cache_clear()
        with pytest.raises(SystemExit) as ended:
            main()
        get_settings.cache_clear()
        return int(ended.value.code or 0), capsys.readouterr().err

    return once


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["EMPTY", "--op", "enhance"], 9, "No photos in"),
        (["MISSING", "--op", "enhance"], 2, "no such file or folder"),
        (["--op", "enhance"], 2, "enhance needs photos"),
        (["PHOTOS", "--op", "edit"], 2, "prompt: is missing"),
        (["PHOTOS", "--op", "edit", "--prompt", "x", "--resolution", "9K"], 2, "resolution: 9K is not one of"),
        (["PHOTOS", "--op", "edit", "--prompt", "x", "--quality", "low"], 2, "only gpt-image-2 takes it"),
        (["PHOTOS", "--op", "enhance", "-n", "5"], 2, "num_output_images: 5 is more than 4"),
        (["PHOTOS", "--op", "generate", "--prompt", "x"], 2, "generate makes pictures from --prompt alone"),
        (["PHOTOS", "--op", "polish"], 2, "'polish' is not one of"),
        (["PHOTOS", "--op", "enhance", "--sharpness", "9"], 2, "No such option"),
        (["http://example.com/1.jpg", "--op", "enhance"], 2, "must be https://"),
        (["PHOTOS", "--op", "enhance", "--out", "photos"], 2, "the next run would find its results in photos"),
        (
            ["s3://photos/in/", "--op", "enhance", "--out", "s3://photos/in/x/"],
            2,
            "find its results in s3://photos/in/",
        ),
        (["PHOTOS", "jobs.jsonl", "--op", "enhance"], 2, "a manifest is run by itself"),
        (["jobs.jsonl", "--sample", "2"], 2, "--sample is for photos"),
        (["--op", "generate", "--prompt", "x", "--sample", "2"], 2, "--sample is for photos"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_happens(
    run: Run, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"any")
    places = {"EMPTY": "empty", "MISSING": "missing", "PHOTOS": "photos"}
    ended, told = run("run", *(places.get(word, word) for word in words))
    assert (ended, message in told) == (code, True), told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PHOTABATCH_CONCURRENCY", "lots"),
        ("PHOTABATCH_DATABASE_URL", "mysql://x"),
        ("PHOTABATCH_S3_ENDPOINT_URL", "ftp://x"),
        ("PHOTABATCH_PHOTA_MODE", "fast"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    code, told = run("status")
    assert (code, name in told) == (7, True), told


def test_submit_needs_a_stack_and_says_so(run: Run) -> None:
    code, told = run("submit", "jobs.jsonl")
    assert (code, told.startswith("submit needs a stack")) == (2, True), told


def test_workers_need_an_address(run: Run) -> None:
    code, told = run("worker")
    assert code == 7
    assert "PHOTABATCH_DATABASE_URL and PHOTABATCH_BROKER_URL not set" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pause"], "Missing argument 'BATCH'"),
        (["resume", "trip", "--budget", "lots"], "'lots' is not a sum of money"),
        (["resume", "trip", "--budget", "-1"], "is not between 0"),
        (["run", "trip", "--op", "enhance", "--name", "é" * 101], "202 bytes; 200 at most"),
        (["retry", "trip", "--code"], "requires an argument"),
    ],
)
def test_a_control_needs_its_batch_and_its_figures(run: Run, words: list[str], message: str) -> None:
    code, told = run(*words)
    assert (code, message in told) == (2, True), told
