"""The limit of open files, changed in a process of its own."""

import subprocess
import sys

import pytest

_TRY = """
import resource
from clients.open_files import allow_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
allow_open_files({wanted})
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("wanted", "limits"), [(250, "250 300"), (4096, "300 300"), (100, "200 300")])
def test_the_limit_is_raised_as_far_as_it_may_be_and_never_lowered(wanted: int, limits: str) -> None:
    argv = [sys.executable, "-c", _TRY.format(wanted=wanted)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout.strip() == limits
