"""Real receivers, a real outbox: everything arrives, signed, in order, and nobody waits for anybody else."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from models import DEFAULT_ACCOUNT
from models.endpoints import find_endpoints
from producer import webhooks
from tests.integration.conftest import add_batch
from tests.integration.outbox_events import (
    change,
    deliveries,
    end_all,
    end_jobs,
    endpoint,
    look,
    make_due,
    register,
    tell_of,
)
from tests.integration.receivers import Call, Notifier, Receiver, status, through, until

OK = status(200)


def failing(times: int, answer: bytes = status(500)) -> Callable[[Call], bytes]:
    """Each event so often, then never again."""
    seen: Counter[str] = Counter()

    def say(call: Call) -> bytes:
        seen[call.id] += 1
        return answer if seen[call.id] <= times else OK

    return say


# --- failures


def test_a_receiver_that_fails_nine_times_gets_everything_in_order(engine: Engine) -> None:
    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        for _ in range(3):
            batch = add_batch(engine, 4)
            tell_of(engine, batch, "started", "paused")
            end_all(engine)
            tell_of(engine, batch, "finished")
        await notify.deliver_all()

    receiver = Receiver(failing(9))
    through(engine, receiver, work=work)
    assert Counter(call.id for call in receiver.calls) == {f"msg_{row['id'].hex}": 10 for row in deliveries(engine)}
    order: dict[str, list[str]] = {}
    for call in receiver.taken:
        order.setdefault(call.event["data"]["id"], []).append(call.event["type"])
    told = ["batch.started", "batch.paused", "batch.cancelled"]
    assert sorted(order.values()) == sorted([told] * 3 + [["job.cancelled"]] * 12)
    assert {(row["state"], row["tries"]) for row in deliveries(engine)} == {("delivered", 10)}
    assert endpoint(engine, receiver.url)["failing_since"] is None


def test_a_receiver_that_is_down_gets_a_few_tries_at_a_time(engine: Engine) -> None:
    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        end_jobs(engine, 100)
        await notify.tick()
        await notify.rest()

    receiver = Receiver(failing(100))
    through(engine, receiver, work=work)
    assert len(receiver.calls) == 4
    row = endpoint(engine, receiver.url)
    assert (row["hold"], row["failures"]) == ("idle", 4)
    assert look(engine, "SELECT due_at > now() AS is_paused FROM webhook_endpoints") == [{"is_paused": True}]
    assert Counter(each["tries"] for each in deliveries(engine)) == {0: 96, 1: 4}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(302, "Location: http://127.0.0.1:1/"), "redirected"),
        (status(500), "http_500"),
        (b"not http\r\n\r\n", "connection_lost"),
    ],
)
def test_what_is_no_2xx_is_a_failure_and_no_redirect_is_followed(engine: Engine, answer: bytes, error: str) -> None:
    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        end_jobs(engine, 1)
        await notify.deliver()

    receiver = Receiver(lambda _: answer)
    through(engine, receiver, work=work)
    assert len(receiver.calls) == 1
    [row] = deliveries(engine)
    assert (row["state"], row["error"], row["tries"]) == ("pending", error, 1)


def test_an_endless_answer_is_left(engine: Engine) -> None:
    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        end_jobs(engine, 3)
        await notify.deliver()

    receiver = Receiver(lambda _: b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2**22)
    through(engine, receiver, work=work)
    assert {(row["state"], row["http_status"]) for row in deliveries(engine)} == {("delivered", 200)}


def test_retry_after_is_honoured_for_the_event_and_the_endpoint(engine: Engine) -> None:
    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        end_jobs(engine, 1)
        await notify.deliver()

    receiver = Receiver(lambda _: status(429, "Retry-After: 1800"))
    through(engine, receiver, work=work)
    waits = "SELECT extract(epoch FROM due_at - now())::float8 AS s FROM"
    [delivery], [held] = look(engine, f"{waits} deliveries"), look(engine, f"{waits} webhook_endpoints")
    assert 1700 < delivery["s"] <= 1800
    assert 1700 < held["s"] <= 1800


def test_a_receiver_that_is_gone_is_told_nothing_more(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        end_jobs(engine, 30)
        await notify.deliver()
        end_jobs(engine, 1)
        await notify.deliver()

    receiver = Receiver(lambda _: status(410), path="/hook?token=hidden")
    through(engine, receiver, work=work)
    assert len(receiver.calls) <= 4
    errors = Counter(row["error"] for row in deliveries(engine) if row["state"] == "failed")
    assert errors == {"http_410": len(receiver.calls), "endpoint_disabled": 31 - len(receiver.calls)}
    assert endpoint(engine, receiver.url)["disabled_reason"] == "gone"
    [line] = [record.getMessage() for record in caplog.records if "disabled" in record.getMessage()]
    assert line.startswith("webhook endpoint disabled: ")
    assert "hidden" not in line


def test_an_event_written_while_its_endpoint_is_disabled_is_kept(engine: Engine) -> None:
    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        end_jobs(engine, 3)
        change(engine, "UPDATE webhook_endpoints SET disabled_at = now(), disabled_reason = 'gone'")
        await notify.deliver()

    receiver = Receiver()
    through(engine, receiver, work=work)
    assert receiver.calls == []
    assert {(row["state"], row["error"]) for row in deliveries(engine)} == {("failed", "endpoint_disabled")}


def test_after_five_days_of_failure_an_endpoint_is_disabled_and_a_replay_brings_all(engine: Engine) -> None:
    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        end_jobs(engine, 10)
        await notify.deliver()
        change(engine, "UPDATE webhook_endpoints SET failing_since = now() - interval '5 days'")
        make_due(engine)
        await notify.deliver()
        assert endpoint(engine, receiver.url)["disabled_reason"] == "failing"
        receiver.answer = lambda _: OK
        register(engine, url=receiver.url)
        with engine.begin() as connection:
            [found] = find_endpoints(connection, DEFAULT_ACCOUNT, receiver.url)
            assert webhooks.replay(connection, found) == 10
        await notify.deliver()

    receiver = Receiver(failing(100))
    through(engine, receiver, work=work)
    assert sorted(receiver.ids) == sorted(f"msg_{row['id'].hex}" for row in deliveries(engine))
    assert {row["state"] for row in deliveries(engine)} == {"delivered"}


# --- nobody waits


def test_never_more_than_four_at_once(engine: Engine) -> None:
    async def slowly(_: Call) -> bytes:
        await asyncio.sleep(0.005)
        return OK

    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        end_jobs(engine, 150)
        await notify.deliver()

    receiver = Receiver(slowly)
    through(engine, receiver, work=work)
    assert len(receiver.taken) == 150
    assert receiver.most_in_flight == 4


def test_a_slow_receiver_delays_no_other(engine: Engine) -> None:
    """The slow ones answer only after the quick one has everything."""

    async def work(notify: Notifier) -> None:
        for receiver in (*slow, quick):
            register(engine, url=receiver.url)
        end_jobs(engine, 40)
        await notify.tick()
        await until(lambda: len(quick.taken) == 40)
        assert [receiver.in_flight for receiver in slow] == [4] * 5
        done.set()
        await notify.rest()

    done = asyncio.Event()

    async def when_told(_: Call) -> bytes:
        await done.wait()
        return OK

    slow, quick = [Receiver(when_told) for _ in range(5)], Receiver()
    through(engine, *slow, quick, work=work)
    assert [len(receiver.taken) for receiver in slow] == [40] * 5


def test_a_full_worker_leaves_endpoints_to_others(engine: Engine) -> None:
    async def work(notify: Notifier) -> None:
        for receiver in receivers:
            register(engine, url=receiver.url)
        end_jobs(engine, 1)
        assert len(await notify.tick()) == 3
        assert len(notify.pumps) == 2
        await notify.rest()
        assert Counter(row["state"] for row in deliveries(engine)) == {"delivered": 2, "pending": 1}
        await notify.deliver_all()

    receivers = [Receiver() for _ in range(3)]
    through(engine, *receivers, work=work, most=2)
    assert [len(receiver.taken) for receiver in receivers] == [1, 1, 1]


def test_a_worker_that_stops_hands_endpoints_back(engine: Engine) -> None:
    """What is in flight ends or is cut; what was not begun has lost neither its place nor a try."""

    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        end_jobs(engine, 10)
        await notify.tick()
        await until(lambda: receiver.in_flight == 4)
        await notify.pumps.stop(patience_s=0.05)
        assert (len(notify.pumps), endpoint(engine, receiver.url)["hold"]) == (0, "idle")
        assert Counter((row["hold"], row["tries"]) for row in deliveries(engine)) == {("idle", 0): 10}

    async def never(_: Call) -> bytes:
        await asyncio.sleep(60)
        return OK

    receiver = Receiver(never)
    through(engine, receiver, work=work)


def test_a_pump_whose_lease_is_lost_stops(engine: Engine) -> None:
    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        end_jobs(engine, 200)
        await notify.tick()
        await notify.rest()

    def take_it_away(_: Call) -> bytes:
        change(engine, "UPDATE webhook_endpoints SET version = version + 1")
        return OK

    receiver = Receiver(take_it_away)
    through(engine, receiver, work=work)
    assert 4 <= len(receiver.calls) <= 64  # the round in hand, none after it
    assert endpoint(engine, receiver.url)["hold"] == "held"


# --- digests


def test_digests_tell_of_many_jobs_and_the_end_comes_after_them(engine: Engine) -> None:
    async def work(notify: Notifier) -> None:
        batch = end_jobs(engine, 600, webhook_url=receiver.url, webhook_events=["job.cancelled"], webhook_digest=True)
        tell_of(engine, batch, "finished")
        await notify.deliver_all()

    receiver = Receiver(failing(2))
    through(engine, receiver, work=work)
    assert receiver.most_in_flight == 1
    events = [call.event for call in receiver.taken]
    assert [event["type"] for event in events] == ["job.digest", "job.digest", "batch.cancelled"]
    assert [event["data"]["count"] for event in events[:2]] == [500, 100]
    told = [job["data"]["id"] for event in events[:2] for job in event["data"]["jobs"]]
    assert len(told) == len(set(told)) == 600
    assert {job["type"] for event in events[:2] for job in event["data"]["jobs"]} == {"job.cancelled"}
    bodies = {call.id: {each.body for each in receiver.calls if each.id == call.id} for call in receiver.taken[:2]}
    assert {len(same) for same in bodies.values()} == {1}  # on every try the same


def test_digests_go_at_most_once_a_second(engine: Engine) -> None:
    async def work(notify: Notifier) -> None:
        register(engine, "job.*", url=receiver.url, is_digest=True)
        end_jobs(engine, 501)
        await notify.deliver()
        [wait] = look(engine, "SELECT extract(epoch FROM due_at - now())::float8 AS s FROM webhook_endpoints")
        assert 0.5 < wait["s"] <= 1

    receiver = Receiver()
    through(engine, receiver, work=work)
    assert len(receiver.calls) == 1


RESULT = (
    "INSERT INTO outputs (job_id, index, bucket, key, content_type, bytes, sha256, width, height) "
    "SELECT id, 0, :bucket, 'a/1.jpg', 'image/jpeg', 3, repeat('a', 64), 1, 1 FROM jobs WHERE custom_id = :custom_id"
)


def test_an_event_links_to_the_results(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be linked to is tried again, and takes no other with it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    async def work(notify: Notifier) -> None:
        register(engine, url=receiver.url)
        add_batch(engine, 2)
        for custom_id, bucket in (("0", "done"), ("1", "no bucket at all")):
            change(engine, RESULT, custom_id=custom_id, bucket=bucket)
        change(engine, "UPDATE jobs SET state = 'succeeded', due_at = NULL, finished_at = now(), cost_usd = 0.12")
        await notify.deliver()
        assert endpoint(engine, receiver.url)["failing_since"] is None  # it is no fault of the receiver's

    receiver = Receiver()
    through(engine, receiver, work=work)
    [output] = receiver.calls[0].event["data"]["outputs"]
    assert output["url"].startswith("http://127.0.0.1:1/done/a/1.jpg?")
    assert Counter((row["state"], row["error"]) for row in deliveries(engine)) == {
        ("delivered", None): 1,
        ("pending", "internal_error"): 1,
    }
