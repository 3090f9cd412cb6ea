"""The fault campaign in its short form: a few rows of the matrix, judged by the oracle, with a seed of the day."""

import subprocess
import sys

import pytest


@pytest.mark.timeout(400)
def test_the_campaign_finds_no_promise_broken() -> None:
    """The seed is in the output: `python -m chaos --size smoke --seed …` does the same again."""
    argv = [sys.executable, "-m", "chaos", "--size", "smoke", "--at-once", "2"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stdout + done.stderr
