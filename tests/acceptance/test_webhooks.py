"""Told by webhook: real dispatcher and workers, the commands as people type them, a receiver that verifies."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import pytest
from sqlalchemy import Engine, text
from standardwebhooks.webhooks import Webhook

from models.inserts import BatchRef
from producer.batches import close_batch, open_batch
from producer.submission import submit
from tests.acceptance.conftest import Fleet, eventually


class Listener:
    """A receiver on loopback. Verifies with `secret`; answers as `answer` says, by what it has had of that id."""

    def __init__(self) -> None:
        self.secret = ""
        self.answer: Callable[[dict[str, Any]], int] = lambda _: 204
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self._lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, headers: dict[str, str], body: bytes) -> int:
        event = Webhook(self.secret).verify(body, headers)
        status = self.answer(event)
        with self._lock:
            call = (headers["webhook-id"], event)
            self.calls.append(call)
            if status < 300:
                self.taken.append(call)
        return status

    def jobs(self) -> Counter[str]:
        """How often each job was told of, in digests or not."""
        told = Counter[str]()
        for event in dict(self.taken).values():  # a receiver deduplicates
            jobs = event["data"]["jobs"] if event["type"] == "job.digest" else [event]
            told.update(job["data"]["custom_id"] for job in jobs if job["type"].startswith("job."))
        return told

    def types(self) -> list[str]:
        return [event["type"] for event in dict(self.taken).values()]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(listener: Listener) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(listener.take({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def add(fleet: Fleet, listener: Listener, *options: str) -> str:
    """The endpoint's id; from now on the listener knows its secret."""
    added = lines(fleet, "add", listener.url, *options)[0]
    listener.secret = added["secret"]
    return str(added["id"])


def lines(fleet: Fleet, *words: str) -> list[dict[str, Any]]:
    done = fleet.command("webhook", *words, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def add_jobs(engine: Engine, count: int, **batch: Any) -> BatchRef:
    with engine.begin() as connection:
        made = open_batch(connection, "told", **batch)
        job = {"operation": "generate", "params": {"prompt": "a boat"}}
        submit([job | {"custom_id": str(n)} for n in range(count)], batch=made, session=connection)
        close_batch(connection, made)
    return made


def count(engine: Engine, which: str) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM deliveries WHERE {which}")) or 0)


def change(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_a_batch_is_told_of_in_digests_and_its_end_after_its_jobs(
    fleet: Fleet, engine: Engine, listener: Listener
) -> None:
    add(fleet, listener, "--events", "job.*,batch.*", "--digest")
    add_jobs(engine, 60)
    assert eventually(lambda: "batch.completed" in listener.types()), listener.types()
    assert listener.jobs() == {str(n): 1 for n in range(60)}
    types = listener.types()
    assert (types[0], types[-1]) == ("batch.started", "batch.completed")
    assert set(types[1:-1]) == {"job.digest"}
    assert len(types) < 20
    [listed] = lines(fleet, "list")
    assert (listed["state"], listed["pending"], listed["url"]) == ("ok", 0, listener.url)


def test_a_ping_tells_what_the_receiver_answers(fleet: Fleet, listener: Listener) -> None:
    endpoint = add(fleet, listener)
    assert fleet.command("webhook", "ping", endpoint[:13]).returncode == 0
    assert listener.types() == ["webhook.ping"]
    listener.answer = lambda _: 500
    done = fleet.command("webhook", "ping", listener.url)
    assert (done.returncode, "http_500" in done.stderr) == (3, True)
    assert [each["state"] for each in lines(fleet, "deliveries", endpoint)] == ["failed", "delivered"]
    assert len(listener.calls) == 2


def test_what_a_receiver_missed_is_replayed_with_the_same_ids(fleet: Fleet, engine: Engine, listener: Listener) -> None:
    endpoint = add(fleet, listener, "--events", "job.*")
    listener.answer = lambda _: 410
    add_jobs(engine, 10)
    assert eventually(lambda: count(engine, "error IS NOT NULL AND state = 'failed'") == 10)
    assert fleet.command("webhook", "replay", endpoint).returncode == 2
    assert "DISABLED: gone" in fleet.command("webhook", "list").stdout
    assert len(lines(fleet, "deliveries", "--failed")) == 10
    listener.answer = lambda _: 204
    assert fleet.command("webhook", "enable", endpoint).returncode == 0
    assert "10 events are sent" in fleet.command("webhook", "replay", endpoint).stderr
    assert eventually(lambda: len(listener.jobs()) == 10), listener.jobs()
    assert dict(listener.taken).keys() == {each["webhook_id"] for each in lines(fleet, "deliveries", endpoint)}
    assert fleet.command("webhook", "replay", endpoint).returncode == 9
    assert fleet.command("webhook", "remove", endpoint).returncode == 0
    assert lines(fleet, "list") == []


def test_a_worker_killed_in_a_delivery_loses_nothing(idle_fleet: Fleet, engine: Engine, listener: Listener) -> None:
    add(idle_fleet, listener, "--events", "job.*,batch.*")
    idle_fleet.start(workers=0)
    doomed = idle_fleet.start_worker(PHOTABATCH_FAILPOINT="in_delivery:kill:5")
    add_jobs(engine, 20)
    assert eventually(lambda: not doomed.is_alive)
    told = len(listener.taken)
    assert told >= 5
    change(engine, "UPDATE webhook_endpoints SET due_at = now()")  # instead of waiting for leases
    change(engine, "UPDATE jobs SET due_at = now() WHERE hold = 'held'")
    idle_fleet.start_worker()
    assert eventually(lambda: "batch.completed" in listener.types()), listener.types()
    assert listener.jobs() == {str(n): 1 for n in range(20)}
    assert len(listener.calls) - len(dict(listener.calls)) <= 4  # told again: what was in flight, under the same ids


def test_a_worker_that_is_asked_to_stop_loses_nothing(fleet: Fleet, engine: Engine, listener: Listener) -> None:
    add(fleet, listener, "--events", "job.*")
    add_jobs(engine, 60)
    assert eventually(lambda: len(listener.taken) >= 10)
    victim = fleet.child("worker")
    fleet.start_worker()
    os.kill(victim.pid, signal.SIGTERM)
    assert eventually(lambda: not victim.is_alive, within_s=10)
    assert eventually(lambda: len(listener.jobs()) == 60, within_s=20), len(listener.jobs())
    assert len(listener.calls) == 60
