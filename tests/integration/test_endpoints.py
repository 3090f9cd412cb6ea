"""What people do to endpoints: register, rotate, remove, replay, ping; within their account."""

import uuid
from typing import Any

import pytest
from sqlalchemy import Engine

from models import DEFAULT_ACCOUNT, endpoints
from models import deliveries as told
from models.endpoint_leases import (
    EndpointLease,
    HeldEndpoint,
    keep_endpoint,
    note_outcomes,
    release_endpoint,
)
from models.endpoints import EndpointView
from models.states import DeliveryState
from producer import webhooks
from tests.integration.conftest import Run
from tests.integration.outbox_events import (
    URL,
    change,
    claim,
    delivered,
    deliveries,
    end_jobs,
    endpoint,
    failed,
    hold,
    look,
    move,
    record,
    register,
    take_due,
)


def view(engine: Engine, url: str = URL) -> EndpointView:
    with engine.connect() as connection:
        [found] = endpoints.find_endpoints(connection, DEFAULT_ACCOUNT, url)
    return found


def held(engine: Engine, run: Run) -> HeldEndpoint:
    lease = hold(engine, run)
    found = run(lambda connection: keep_endpoint(connection, lease))
    assert isinstance(found, HeldEndpoint)
    return found


def rotate(engine: Engine, endpoint_id: uuid.UUID | None) -> str:
    with engine.begin() as connection:
        return webhooks.rotate(connection, DEFAULT_ACCOUNT, endpoint_id)


def account_secret(engine: Engine) -> str:
    return str(look(engine, "SELECT webhook_secret FROM accounts")[0]["webhook_secret"])


def test_an_endpoint_signs_with_its_own_secret(engine: Engine, run: Run) -> None:
    with engine.begin() as connection:
        made = webhooks.register(connection, DEFAULT_ACCOUNT, URL, events=["*"])
        again = webhooks.register(connection, DEFAULT_ACCOUNT, URL, events=["job.failed"])
    assert (again.id, again.secret) == (made.id, None)
    end_jobs(engine, 1, webhook_url=URL, webhook_events=["job.cancelled"])
    assert held(engine, run).secrets == (made.secret,)


def test_a_url_that_a_batch_has_named_signs_with_both_secrets_for_a_day(engine: Engine, run: Run) -> None:
    end_jobs(engine, 1, webhook_url=URL, webhook_events=["job.cancelled"])
    registered = register(engine)
    own = look(engine, "SELECT secret FROM webhook_endpoints")[0]["secret"]
    assert held(engine, run).secrets == (own, account_secret(engine))
    assert view(engine).id == registered


@pytest.mark.parametrize("whose", ["endpoint", "account"])
def test_two_secrets_sign_until_the_overlap_ends(engine: Engine, run: Run, whose: str) -> None:
    end_jobs(engine, 1, webhook_url=URL, webhook_events=["job.cancelled"])
    old = account_secret(engine)
    new = rotate(engine, view(engine).id if whose == "endpoint" else None)
    lease = hold(engine, run)
    assert secrets_of(run, lease) == (new, old)
    change(engine, "UPDATE webhook_endpoints SET old_secret_until = now()")
    change(engine, "UPDATE accounts SET old_webhook_secret_until = now()")
    assert secrets_of(run, lease) == (new,)


def secrets_of(run: Run, lease: EndpointLease) -> tuple[str, ...]:
    found = run(lambda connection: keep_endpoint(connection, lease))
    assert isinstance(found, HeldEndpoint)
    return found.secrets


def test_a_removed_endpoint_is_told_nothing_and_keeps_no_secret(engine: Engine) -> None:
    registered = register(engine)
    end_jobs(engine, 2)
    with engine.begin() as connection:
        assert endpoints.remove_endpoint(connection, DEFAULT_ACCOUNT, registered) == 2
    end_jobs(engine, 1)
    assert [(row["state"], row["error"]) for row in deliveries(engine)] == [("failed", "endpoint_removed")] * 2
    row = endpoint(engine)
    assert (row["is_registered"], row["events"], row["secret"], row["old_secret"]) == (False, [], None, None)


def test_registering_again_enables(engine: Engine) -> None:
    register(engine, "job.failed")
    change(engine, "UPDATE webhook_endpoints SET disabled_at = now(), disabled_reason = 'gone', failures = 7")
    assert view(engine).state == "disabled"
    register(engine, "batch.*", "job.failed", is_digest=True)
    found = view(engine)
    assert (found.state, found.failures, found.is_digest) == ("ok", 0, True)
    assert found.events == ["batch.*", "job.failed"]


@pytest.mark.parametrize(
    ("url", "events"),
    [(URL, ["job.lost"]), (URL, []), ("ftp://x/", ["*"]), ("http://127.0.0.1/", ["*"]), (f"{URL}?{'x' * 2000}", ["*"])],
)
def test_what_cannot_be_told_is_not_registered(engine: Engine, url: str, events: list[str]) -> None:
    with engine.begin() as connection, pytest.raises(webhooks.InvalidEndpoint):
        webhooks.register(connection, DEFAULT_ACCOUNT, url, events=events)


def test_an_endpoint_is_found_by_id_beginning_or_url_within_its_account(engine: Engine) -> None:
    ids = [register(engine, url=f"{URL}/{number}") for number in range(2)]
    with engine.connect() as connection:

        def found(word: str, account: uuid.UUID = DEFAULT_ACCOUNT) -> int:
            return len(endpoints.find_endpoints(connection, account, word))

        assert [found(word) for word in (str(ids[0]), f"{URL}/1", "%", "0")] == [1, 1, 0, 2]
        assert found(str(ids[0]), uuid.uuid4()) == 0


def test_the_list_holds_what_is_registered_failing_or_disabled(engine: Engine) -> None:
    register(engine)
    end_jobs(engine, 1, webhook_url=f"{URL}/named")
    assert [each.url for each in listed(engine)] == [URL]
    change(engine, "UPDATE webhook_endpoints SET failing_since = now() WHERE NOT is_registered")
    assert [(each.url, each.state) for each in listed(engine)] == [(URL, "ok"), (f"{URL}/named", "failing")]
    assert [each.pending for each in listed(engine)] == [1, 0]


def listed(engine: Engine) -> list[EndpointView]:
    with engine.connect() as connection:
        return endpoints.list_endpoints(connection, DEFAULT_ACCOUNT)


def test_enabling_a_failing_endpoint_tries_at_once_what_waits(engine: Engine, run: Run) -> None:
    registered = register(engine)
    end_jobs(engine, 2)
    lease = hold(engine, run)
    failed(run, *claim(run, lease), due_s=7200)
    run(lambda connection: note_outcomes(connection, lease, took=False, failed=2))
    run(lambda connection: release_endpoint(connection, lease, due_s=3600))
    assert (view(engine).state, take_due(engine)) == ("failing", [])
    with engine.begin() as connection:
        webhooks.enable(connection, DEFAULT_ACCOUNT, registered)
    assert (view(engine).state, take_due(engine)) == ("ok", [registered])


# --- once more


def replay(engine: Engine, **which: Any) -> int:
    with engine.begin() as connection:
        return webhooks.replay(connection, view(engine), **which)


def test_a_replay_keeps_ids_and_starts_anew(engine: Engine, run: Run) -> None:
    register(engine)
    end_jobs(engine, 3)
    lease = hold(engine, run)
    first, *others = claim(run, lease)
    record(run, move([first], DeliveryState.DELIVERED), *(move([each], DeliveryState.FAILED) for each in others))
    assert replay(engine) == 2
    again = claim(run, lease)
    assert {(each.id, each.tries) for each in again} == {(each.id, 0) for each in others}
    assert [(row["http_status"], row["finished_at"]) for row in deliveries(engine)[1:]] == [(None, None)] * 2
    assert replay(engine, delivery_id=first.id) == 1
    assert replay(engine, delivered_too=True) == 0  # all are pending by now


def test_what_waits_for_its_next_try_is_tried_now(engine: Engine) -> None:
    registered = register(engine, "job.*")
    end_jobs(engine, 2)
    change(engine, "UPDATE deliveries SET due_at = now() + interval '5 min'")
    change(engine, "UPDATE webhook_endpoints SET due_at = now() + interval '5 s'")
    assert take_due(engine) == []
    with engine.begin() as connection:
        assert webhooks.try_now(connection, view(engine)) == 2
    assert take_due(engine) == [registered]


def test_registering_again_keeps_what_is_not_said(engine: Engine) -> None:
    register(engine, "batch.*", "job.failed", is_digest=True)
    with engine.begin() as connection:
        again = webhooks.register(connection, DEFAULT_ACCOUNT, URL)
    assert (set(again.events), again.is_digest) == ({"batch.*", "job.failed"}, True)


def test_a_ping_is_not_replayed(engine: Engine) -> None:
    register(engine)
    with engine.begin() as connection:
        webhooks.ping(connection, view(engine))
    change(engine, "UPDATE deliveries SET state = 'failed', due_at = NULL")
    assert replay(engine, delivered_too=True) == 0


def test_a_replay_goes_back_as_far_as_asked(engine: Engine, run: Run) -> None:
    register(engine)
    end_jobs(engine, 2)
    claimed = claim(run, hold(engine, run))
    delivered(run, *claimed)
    change(engine, "UPDATE deliveries SET created_at = now() - interval '2 days' WHERE id = :id", id=claimed[0].id)
    since = look(engine, "SELECT now() - interval '1 day' AS moment")[0]["moment"]
    assert (replay(engine, since=since), replay(engine, delivered_too=True, since=since)) == (0, 1)


def test_one_of_a_digest_is_replayed_with_all_of_it(engine: Engine, run: Run) -> None:
    register(engine, "job.*", is_digest=True)
    end_jobs(engine, 4)
    lease = hold(engine, run)
    claimed = claim(run, lease)
    record(run, move(claimed, DeliveryState.FAILED))
    assert replay(engine, delivery_id=claimed[2].id) == 4
    assert claim(run, lease)[0].digest_id == claimed[0].digest_id


def test_a_disabled_endpoint_is_neither_replayed_nor_pinged(engine: Engine) -> None:
    register(engine)
    change(engine, "UPDATE webhook_endpoints SET disabled_at = now(), disabled_reason = 'failing'")
    with engine.begin() as connection:
        for verb in (webhooks.replay, webhooks.ping):
            with pytest.raises(webhooks.EndpointDisabled, match="failing"):
                verb(connection, view(engine))


def test_a_ping_goes_before_what_waits_and_only_once(engine: Engine, run: Run) -> None:
    register(engine)
    end_jobs(engine, 3)
    with engine.begin() as connection:
        ping = webhooks.ping(connection, view(engine))
    claimed = claim(run, hold(engine, run))
    assert (claimed[0].id, claimed[0].type, len(claimed)) == (ping, "webhook.ping", 4)
    failed(run, claimed[0])
    with engine.begin() as connection:
        told.close_ping(connection, ping)
        assert told.read_delivery(connection, ping).state is DeliveryState.FAILED


def test_counts_for_metrics(engine: Engine, run: Run) -> None:
    register(engine)
    end_jobs(engine, 5)
    first, second, *_ = claim(run, hold(engine, run))
    record(run, move([first], DeliveryState.DELIVERED), move([second], DeliveryState.FAILED))
    change(engine, "UPDATE deliveries SET created_at = now() - interval '1 hour'")
    change(engine, "UPDATE webhook_endpoints SET disabled_at = now(), disabled_reason = 'gone'")
    with engine.connect() as connection:
        counts = endpoints.delivery_counts(connection)
    assert (counts.pending, counts.failed, counts.disabled_endpoints) == (3, 1, 1)
    assert 3600 <= counts.oldest_pending_s < 3700
