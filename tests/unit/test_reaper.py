"""What a dead stack leaves lying about is cleared away, what another one uses is not."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.reaper import remove


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a socket's has 108 bytes at most."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_a_socket_on_which_somebody_listens_stays(folder: Path) -> None:
    path = folder / "weed.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        remove([str(path)])
        assert path.is_socket()
    remove([str(path)])
    assert not path.exists()


def test_files_go_and_missing_ones_are_no_error(folder: Path) -> None:
    pid_file = folder / "postmaster.pid"
    pid_file.write_text("1")
    remove([str(folder / "never"), str(pid_file)])
    assert list(folder.iterdir()) == []
