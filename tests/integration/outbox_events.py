"""Events in a real outbox, made by the triggers that make them in production."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, text

from models import DEFAULT_ACCOUNT
from models.endpoint_leases import EndpointLease, claim_endpoints, keep_endpoint, take_due_endpoints
from models.inserts import BatchRef
from models.outbox import ClaimedDelivery, DeliveryMove, claim_deliveries, record_deliveries
from models.states import DeliveryState
from producer import webhooks
from producer.submission import insert
from tests.integration.conftest import Run, add_batch, photo

URL = "https://hooks.example.com/in"


def register(engine: Engine, *events: str, url: str = URL, is_digest: bool = False) -> uuid.UUID:
    with engine.begin() as connection:
        return webhooks.register(
            connection,
            DEFAULT_ACCOUNT,
            url,
            events=events or ("*",),
            is_digest=is_digest,
            allowed_hosts=["127.0.0.1"],
        ).id


def end_jobs(engine: Engine, count: int, **batch: Any) -> BatchRef:
    """A batch whose jobs are all cancelled: one event each."""
    made = add_batch(engine, count, **batch)
    end_all(engine)
    return made


def add_and_end(engine: Engine, batch: BatchRef | None, count: int) -> None:
    """More jobs of the batch, or lone ones, cancelled too."""
    with engine.begin() as connection:
        insert(connection, [photo() for _ in range(count)], batch=batch)
    end_all(engine)


def end_all(engine: Engine) -> None:
    change(engine, "UPDATE jobs SET state = 'cancelled', due_at = NULL, finished_at = now() WHERE finished_at IS NULL")


def tell_of(engine: Engine, batch: BatchRef, *moments: str) -> None:
    """Batch events, one a moment: `started`, `paused`, `finished`."""
    for moment in moments:
        extra = {"paused": ", paused_reason = 'user'", "finished": ", outcome = 'cancelled'"}.get(moment, "")
        change(engine, f"UPDATE batches SET {moment}_at = now(){extra} WHERE id = :id", id=batch.id)


def change(engine: Engine, statement: str, **values: Any) -> int:
    with engine.begin() as connection:
        return connection.execute(text(statement), values).rowcount


def look(engine: Engine, query: str, **values: Any) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query), values).mappings()]


def deliveries(engine: Engine) -> list[dict[str, Any]]:
    return look(engine, "SELECT * FROM deliveries ORDER BY seq")


def endpoint(engine: Engine, url: str = URL) -> dict[str, Any]:
    return look(engine, "SELECT * FROM webhook_endpoints WHERE url = :url", url=url)[0]


def make_due(engine: Engine) -> None:
    """Move time instead of waiting: every pending delivery and every endpoint that nobody holds is due."""
    change(engine, "UPDATE deliveries SET due_at = now() WHERE state = 'pending' AND due_at > now()")
    change(engine, "UPDATE webhook_endpoints SET due_at = now() WHERE hold <> 'held' AND due_at > now()")


def take_due(engine: Engine) -> list[uuid.UUID]:
    with engine.begin() as connection:
        due = take_due_endpoints(connection, limit=1000)
    return due.fresh + due.again


def hold(engine: Engine, run: Run) -> EndpointLease:
    """The one endpoint that is due, in hand."""
    ids = take_due(engine)
    [lease] = run(lambda connection: claim_endpoints(connection, ids))
    assert isinstance(lease, EndpointLease)
    return lease


def claim(run: Run, lease: EndpointLease, *, limit: int = 64) -> list[ClaimedDelivery]:
    async def work(connection: Any) -> list[ClaimedDelivery]:
        assert await keep_endpoint(connection, lease) is not None
        return await claim_deliveries(connection, lease.id, limit=limit)

    claimed: list[ClaimedDelivery] = run(work)
    return claimed


def move(claimed: Sequence[ClaimedDelivery], state: DeliveryState, *, due_s: float | None = None) -> DeliveryMove:
    members = tuple((each.id, each.version) for each in claimed)
    return DeliveryMove(claimed[0].digest_id or claimed[0].id, members, state, due_s, 500 if due_s else 204)


def record(run: Run, *moves: DeliveryMove) -> set[uuid.UUID]:
    took: set[uuid.UUID] = run(lambda connection: record_deliveries(connection, moves))
    return took


def delivered(run: Run, *claimed: ClaimedDelivery) -> set[uuid.UUID]:
    return record(run, *(move([each], DeliveryState.DELIVERED) for each in claimed))


def failed(run: Run, *claimed: ClaimedDelivery, due_s: float = 60.0) -> set[uuid.UUID]:
    return record(run, *(move([each], DeliveryState.PENDING, due_s=due_s) for each in claimed))
