"""Endpoints in SQL: who is dispatched, who holds what, and how receivers do."""

import re
from typing import Any

from sqlalchemy import Engine, text

from models import endpoint_leases
from models.dispatch import seconds_to_next
from models.endpoint_leases import (
    DueEndpoints,
    EndpointLease,
    Health,
    claim_endpoints,
    decline_endpoints,
    disable_endpoint,
    fail_pending,
    keep_endpoint,
    note_outcomes,
    release_endpoint,
    take_due_endpoints,
    unsend_endpoints,
)
from tests.integration.conftest import Run
from tests.integration.outbox_events import (
    URL,
    change,
    claim,
    deliveries,
    end_jobs,
    endpoint,
    failed,
    hold,
    look,
    make_due,
    register,
    take_due,
)


def next_s(engine: Engine) -> float | None:
    with engine.connect() as connection:
        return seconds_to_next(connection)


# --- dispatch and leases


def test_an_endpoint_with_an_event_is_dispatched_once(engine: Engine) -> None:
    registered = register(engine, "job.*")
    assert take_due(engine) == []
    end_jobs(engine, 3)
    assert take_due(engine) == [registered]
    assert take_due(engine) == []


def test_a_message_that_was_lost_is_sent_again(engine: Engine) -> None:
    register(engine)
    end_jobs(engine, 1)
    ids = take_due(engine)
    assert 9 < (next_s(engine) or 0) <= 10
    change(engine, "UPDATE webhook_endpoints SET due_at = now()")
    with engine.begin() as connection:
        assert take_due_endpoints(connection, limit=10) == DueEndpoints([], ids)


def test_what_the_broker_or_a_full_worker_does_not_take_is_due_in_a_second(engine: Engine, run: Run) -> None:
    register(engine)
    end_jobs(engine, 1)
    ids = take_due(engine)
    with engine.begin() as connection:
        unsend_endpoints(connection, ids)
    assert 0 < (next_s(engine) or 0) <= 1
    make_due(engine)
    ids = take_due(engine)
    run(lambda connection: decline_endpoints(connection, ids))
    assert endpoint(engine)["hold"] == "idle"


def test_one_claim_wins_and_its_lease_ends(engine: Engine, run: Run) -> None:
    register(engine)
    end_jobs(engine, 1)
    ids = take_due(engine)
    [first] = run(lambda connection: claim_endpoints(connection, ids))
    assert run(lambda connection: claim_endpoints(connection, ids)) == []
    assert 44 < (next_s(engine) or 0) <= 45
    change(engine, "UPDATE webhook_endpoints SET due_at = now()")
    heir = hold(engine, run)
    assert heir == EndpointLease(first.id, first.version + 1)
    assert run(lambda connection: keep_endpoint(connection, first)) is None
    assert run(lambda connection: keep_endpoint(connection, heir)) is not None


def test_a_held_endpoint_with_a_backlog_does_not_make_the_dispatcher_spin(engine: Engine, run: Run) -> None:
    register(engine)
    end_jobs(engine, 5)
    assert (next_s(engine) or 0) <= 0
    lease = hold(engine, run)
    claim(run, lease)
    assert (next_s(engine) or 0) > 40
    run(lambda connection: release_endpoint(connection, lease, due_s=3.0))
    assert 2 < (next_s(engine) or 0) <= 3
    assert take_due(engine) == []


def test_a_delivery_that_waits_for_its_retry_is_not_due(engine: Engine, run: Run) -> None:
    register(engine)
    end_jobs(engine, 1)
    lease = hold(engine, run)
    failed(run, *claim(run, lease), due_s=300)
    run(lambda connection: release_endpoint(connection, lease, due_s=0.0))
    assert 290 < (next_s(engine) or 0) <= 300
    assert take_due(engine) == []


def test_a_zombie_releases_notes_and_disables_nothing(engine: Engine, run: Run) -> None:
    register(engine)
    end_jobs(engine, 1)
    zombie = hold(engine, run)
    change(engine, "UPDATE webhook_endpoints SET due_at = now()")
    hold(engine, run)
    run(lambda connection: release_endpoint(connection, zombie, due_s=0.0))
    assert run(lambda connection: note_outcomes(connection, zombie, took=False, failed=3)) is None
    assert not run(lambda connection: disable_endpoint(connection, zombie, reason="gone"))
    row = endpoint(engine)
    assert (row["hold"], row["failures"], row["disabled_at"]) == ("held", 0, None)


def test_the_scan_steps_from_endpoint_to_endpoint(engine: Engine) -> None:
    """A hundred thousand deliveries of three endpoints: it touches a handful of rows, through the index."""
    for number in range(3):
        register(engine, "batch.*", url=f"{URL}/{number}")
    change(
        engine,
        "INSERT INTO deliveries (account_id, type, endpoint_id, url) "
        "SELECT account_id, 'webhook.ping', id, url FROM webhook_endpoints, generate_series(1, 33000)",
    )
    change(engine, "ANALYZE deliveries")
    with engine.begin() as connection:
        explain = text("EXPLAIN (ANALYZE, FORMAT TEXT) " + str(endpoint_leases._DUE))
        lines = "\n".join(connection.execute(explain, {"resend": 10.0, "limit": 100}).scalars())
        connection.rollback()
    read = re.findall(r"Scan using (\w+) on deliveries.*?actual time=\S+ rows=([\d.]+) loops=(\d+)", lines)
    assert {name for name, _, _ in read} == {"ix_deliveries_due"}, lines
    assert sum(float(rows) * int(loops) for _, rows, loops in read) <= 10, lines
    assert "Seq Scan on deliveries" not in lines


# --- how a receiver does


def note(run: Run, lease: EndpointLease, *, took: bool, failed: int) -> Health:
    health = run(lambda connection: note_outcomes(connection, lease, took=took, failed=failed))
    assert isinstance(health, Health)
    return health


def test_a_success_clears_what_failed_before(engine: Engine, run: Run) -> None:
    register(engine)
    end_jobs(engine, 1)
    lease = hold(engine, run)
    assert note(run, lease, took=False, failed=3) == Health(3, is_hopeless=False)
    since = endpoint(engine)["failing_since"]
    assert note(run, lease, took=False, failed=2) == Health(5, is_hopeless=False)
    assert endpoint(engine)["failing_since"] == since
    assert note(run, lease, took=True, failed=0) == Health(0, is_hopeless=False)
    assert endpoint(engine)["failing_since"] is None


def test_failing_for_five_days_is_hopeless(engine: Engine, run: Run) -> None:
    register(engine)
    end_jobs(engine, 1)
    lease = hold(engine, run)
    note(run, lease, took=False, failed=1)
    for age, is_hopeless in (("4 days 23 hours", False), ("5 days", True)):
        change(engine, f"UPDATE webhook_endpoints SET failing_since = now() - interval '{age}'")
        assert note(run, lease, took=False, failed=1).is_hopeless is is_hopeless
    assert not note(run, lease, took=True, failed=1).is_hopeless  # it has just taken one


def test_a_disabled_endpoint_keeps_its_events_as_failed(engine: Engine, run: Run) -> None:
    register(engine, "job.*")
    end_jobs(engine, 3)
    lease = hold(engine, run)

    async def disable(connection: Any) -> None:
        assert await disable_endpoint(connection, lease, reason="gone")
        await fail_pending(connection, lease.id)

    claim(run, lease)
    run(disable)
    end_jobs(engine, 2)
    assert [(row["state"], row["error"]) for row in deliveries(engine)] == [("failed", "endpoint_disabled")] * 5
    assert take_due(engine) == []
    assert look(engine, "SELECT count(*) AS n FROM deliveries WHERE due_at IS NOT NULL")[0]["n"] == 0
