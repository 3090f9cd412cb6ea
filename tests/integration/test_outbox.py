"""The outbox in SQL: in which order deliveries are claimed, what travels together, and what the fence refuses."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncConnection

from models.endpoint_leases import release_endpoint
from models.outbox import ClaimedDelivery, claim_deliveries, record_deliveries
from models.states import DeliveryState
from tests.integration.conftest import Run, add_batch
from tests.integration.outbox_events import (
    URL,
    add_and_end,
    change,
    claim,
    delivered,
    deliveries,
    end_all,
    end_jobs,
    failed,
    hold,
    make_due,
    move,
    record,
    register,
    tell_of,
)


def types(claimed: list[ClaimedDelivery]) -> list[str]:
    return [each.type for each in claimed]


def test_deliveries_go_in_the_order_of_their_events(engine: Engine, run: Run) -> None:
    register(engine)
    batch = add_batch(engine, 2)
    tell_of(engine, batch, "started")
    end_all(engine)
    tell_of(engine, batch, "finished")
    claimed = claim(run, hold(engine, run))
    assert types(claimed) == ["batch.started", "job.cancelled", "job.cancelled"]
    assert [each.seq for each in claimed] == sorted(each.seq for each in claimed)


def test_a_later_event_waits_for_the_earlier_one_of_its_subject(engine: Engine, run: Run) -> None:
    register(engine, "batch.*")
    batch, other = add_batch(engine, 1), add_batch(engine, 1)
    tell_of(engine, batch, "started", "paused")
    lease = hold(engine, run)
    first = claim(run, lease)
    assert types(first) == ["batch.started"]
    failed(run, *first, due_s=300)
    tell_of(engine, other, "started")
    assert [each.batch_id for each in claim(run, lease)] == [other.id]


def test_what_is_blocked_is_due_with_what_blocks_it(engine: Engine, run: Run) -> None:
    """Or the dispatcher would find it due, and the pump nothing to do, again and again."""
    register(engine, "batch.*")
    tell_of(engine, add_batch(engine, 1), "started", "paused")
    lease = hold(engine, run)
    failed(run, *claim(run, lease), due_s=300)
    assert claim(run, lease) == []
    assert len({row["due_at"] for row in deliveries(engine)}) == 1
    make_due(engine)
    for expected in ("batch.started", "batch.paused"):
        claimed = claim(run, lease)
        assert types(claimed) == [expected]
        delivered(run, *claimed)


def test_many_that_are_blocked_hide_nothing_behind_them(engine: Engine, run: Run) -> None:
    register(engine, "batch.*")
    batches = [add_batch(engine, 1) for _ in range(12)]
    for batch in batches:
        tell_of(engine, batch, "started", "paused")
    lease = hold(engine, run)
    failed(run, *claim(run, lease), due_s=300)
    last = add_batch(engine, 1)
    tell_of(engine, last, "started")
    assert [each.batch_id for each in claim(run, lease, limit=4)] == [last.id]


def test_an_untried_delivery_keeps_its_place_and_its_tries(engine: Engine, run: Run) -> None:
    register(engine)
    end_jobs(engine, 6)
    lease = hold(engine, run)
    claimed = claim(run, lease)
    delivered(run, claimed[0])
    untried = [(each.id, each.version) for each in claimed[1:]]
    run(lambda connection: release_endpoint(connection, lease, due_s=0.0, untried=untried))
    again = claim(run, hold(engine, run))
    assert [each.id for each in again] == [each.id for each in claimed[1:]]
    assert {each.tries for each in again} == {0}


def test_an_outcome_is_taken_only_from_who_claimed_last(engine: Engine, run: Run) -> None:
    register(engine)
    end_jobs(engine, 1)
    lease = hold(engine, run)
    old, new = claim(run, lease), claim(run, lease)
    assert new[0].version == old[0].version + 1
    assert failed(run, *old) == set()
    assert delivered(run, *new) == {new[0].id}
    assert delivered(run, *new) == set()
    assert [(row["state"], row["tries"]) for row in deliveries(engine)] == [("delivered", 1)]


# --- digests


def test_job_events_of_a_batch_travel_together(engine: Engine, run: Run) -> None:
    batch = add_batch(engine, 0, webhook_url=URL, webhook_events=["job.cancelled"], webhook_digest=True)
    tell_of(engine, batch, "started")
    add_and_end(engine, batch, 30)
    tell_of(engine, batch, "paused")
    lease = hold(engine, run)
    for expected in (["batch.started"], ["job.cancelled"] * 30, ["batch.paused"]):
        claimed = claim(run, lease)
        assert types(claimed) == expected
        record(run, move(claimed, DeliveryState.DELIVERED))


def test_a_digest_has_the_same_members_on_every_try(engine: Engine, run: Run) -> None:
    register(engine, "job.*", is_digest=True)
    batch = end_jobs(engine, 5)
    lease = hold(engine, run)
    first = claim(run, lease)
    record(run, move(first, DeliveryState.PENDING, due_s=300))
    add_and_end(engine, batch, 3)
    later = claim(run, lease)
    record(run, move(later, DeliveryState.DELIVERED))
    make_due(engine)
    again = claim(run, lease)
    assert [each.id for each in again] == [each.id for each in first]
    assert {each.digest_id for each in again} == {first[0].digest_id}
    assert (later[0].digest_id != first[0].digest_id, len(later)) == (True, 3)
    assert {each.tries for each in again} == {1}


def test_a_digest_has_at_most_500_jobs(engine: Engine, run: Run) -> None:
    register(engine, "job.*", is_digest=True)
    end_jobs(engine, 730)
    lease = hold(engine, run)
    sizes = []
    while claimed := claim(run, lease):
        sizes.append(len(claimed))
        record(run, move(claimed, DeliveryState.DELIVERED))
    assert sizes == [500, 230]


def test_large_metadata_makes_smaller_digests(engine: Engine, run: Run) -> None:
    register(engine, "job.*", is_digest=True)
    add_batch(engine, 10)
    change(engine, "UPDATE jobs SET metadata = jsonb_build_object('note', repeat('x', 400000))")
    end_all(engine)
    assert len(claim(run, hold(engine, run))) == 3


def test_a_lone_jobs_event_is_in_no_digest(engine: Engine, run: Run) -> None:
    register(engine, "job.*", is_digest=True)
    add_and_end(engine, None, 1)
    assert [each.digest_id for each in claim(run, hold(engine, run))] == [None]


@pytest.mark.parametrize("is_quiet", [True, False], ids=["quiet statistics", "fresh statistics"])
@pytest.mark.parametrize("is_digest", [True, False], ids=["digest", "single"])
def test_a_round_reads_as_much_as_it_takes(engine: Engine, run: Run, is_digest: bool, is_quiet: bool) -> None:
    """Though the planner believes that nothing is pending, as after a receiver was down."""
    registered = register(engine, "batch.*")
    change(engine, "ALTER TABLE deliveries SET (autovacuum_enabled = false)")
    add_pending(engine, 5_000, is_digest)
    change(engine, "UPDATE deliveries SET state = 'delivered', due_at = NULL, finished_at = now()")
    change(engine, "ANALYZE deliveries")
    add_pending(engine, 10_000, is_digest)
    if not is_quiet:
        change(engine, "ANALYZE deliveries")
    lease = hold(engine, run)
    assert lease.id == registered

    async def round_of(connection: AsyncConnection) -> tuple[list[ClaimedDelivery], int]:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))  # cheap here, where the table is small
        claimed = await claim_deliveries(connection, lease.id, limit=64)
        await record_deliveries(connection, [move(claimed, DeliveryState.PENDING, due_s=1.0)])
        rows = await connection.execute(text(_READ))
        return claimed, int(rows.scalar_one())

    for _ in range(2 if is_digest else 1):  # a digest is claimed by its id the next time
        claimed, rows_read = run(round_of)
        assert len(claimed) == (500 if is_digest else 64)
        assert rows_read < 10 * len(claimed)
        change(engine, "UPDATE deliveries SET due_at = now() - interval '1 minute' WHERE tries > 0")


_READ = "SELECT coalesce(seq_tup_read, 0) + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'deliveries'"


def add_pending(engine: Engine, count: int, is_digest: bool) -> None:
    change(
        engine,
        "INSERT INTO deliveries (account_id, type, endpoint_id, url, is_digest) "
        "SELECT account_id, 'webhook.ping', id, url, :digest FROM webhook_endpoints, generate_series(1, :count)",
        digest=is_digest,
        count=count,
    )
