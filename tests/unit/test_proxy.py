"""The campaign's proxy: a reset lets through exactly what it says, for each connection from the moment it is set."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from chaos.proxy import Loop, Mode, Proxy

BODY = bytes(1000)  # sent in one write


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Before a server that answers each byte with BODY."""
    with socket.create_server(("127.0.0.1", 0)) as server, Loop() as loop:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        made = Proxy(loop, server.getsockname()[1])
        yield made
        made.close()


def serve(server: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed at the test's end
        while True:
            threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()


def answer(client: socket.socket) -> None:
    with contextlib.suppress(OSError), client:
        while client.recv(1):
            client.sendall(BODY)


def ask(client: socket.socket) -> tuple[int, bool]:
    """How much of BODY came, and whether the connection was reset."""
    client.sendall(b"?")
    came = 0
    try:
        while came < len(BODY):
            came += len(client.recv(len(BODY)))
    except ConnectionResetError:
        return came, True
    return came, False


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


@pytest.mark.parametrize("limit", [0, 1, 400, 999])
def test_a_body_sent_in_one_write_is_cut_in_its_middle(proxy: Proxy, limit: int) -> None:
    with proxy.spell(Mode.RESET, limit=limit), connect(proxy) as client:
        assert ask(client) == (limit, True)
    assert proxy.cuts == 1


def test_all_answers_of_a_connection_count_together(proxy: Proxy) -> None:
    with proxy.spell(Mode.RESET, limit=1500), connect(proxy) as client, connect(proxy) as other:
        assert [ask(client), ask(client)] == [(1000, False), (500, True)]
        assert ask(other) == (1000, False)


def test_what_came_before_the_mode_was_set_does_not_count(proxy: Proxy) -> None:
    with connect(proxy) as client:
        assert ask(client) == (1000, False)
        with proxy.spell(Mode.RESET, limit=400):
            assert ask(client) == (400, True)
